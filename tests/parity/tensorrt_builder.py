"""Build ONNX files with TensorRT-RTX, in a process of its own: `python tensorrt_builder.py FOLDER`.

For every model FOLDER/name.onnx, with compute capabilities in its metadata, prints a line of JSON: the errors, whether
an engine was built, and the types that each convolution or product reads in its kernel. Free batches get a profile.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import tensorrt_rtx as trt

from efq.runtime.tensorrt.build.layers import layers_of_log

_PRODUCTS = ("correlation", "deconv", "gemm", "runtime_fusion")


class Log(trt.ILogger):  # type: ignore[misc, unused-ignore]
    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []
        self.layers: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(message)
        if message.startswith("Layers:"):
            self.layers.append(message)


def build(path: Path) -> dict[str, Any]:
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        errors = [f"{parser.get_error(i).node_name()}: {parser.get_error(i).desc()}" for i in range(parser.num_errors)]
        return {"name": path.stem, "errors": errors, "built": False, "kernels": {}}
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    capabilities = {prop.key: prop.value for prop in onnx.load(path).metadata_props}["capabilities"].split()
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), index)
    add_profile(builder, network, config)
    built = builder.build_serialized_network(network, config) is not None
    return {"name": path.stem, "errors": log.errors, "built": built, "kernels": kernels(log.layers)}


def add_profile(builder: Any, network: Any, config: Any) -> None:
    """Batches of 1 to 16; none where another dimension is free."""
    shapes = {network.get_input(i).name: tuple(network.get_input(i).shape) for i in range(network.num_inputs)}
    if any(-1 in shape[1:] for shape in shapes.values()):
        return
    profile = builder.create_optimization_profile()
    for name, shape in shapes.items():
        if shape:
            profile.set_shape(name, *((batch, *shape[1:]) for batch in (1, 8, 16)))
    config.add_optimization_profile(profile)


def kernels(log: list[str]) -> dict[str, list[str]]:
    """For each ONNX node in a kernel that multiplies: the kernel's kind, the types of its inputs, then constants."""
    if not log:
        return {}
    layers = [layer for layer in layers_of_log("\n".join(log)) if layer.kind in _PRODUCTS]
    return {node: [layer.kind, *layer.inputs, *layer.constants] for layer in layers for node in layer.nodes}


if __name__ == "__main__":
    for model in sorted(Path(sys.argv[1]).glob("*.onnx")):
        print(json.dumps(build(model)), flush=True)
