"""What each ONNX operator is in torch, one file a family."""
