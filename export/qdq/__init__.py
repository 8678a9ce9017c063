"""Students as ONNX graphs of QuantizeLinear and DequantizeLinear."""
