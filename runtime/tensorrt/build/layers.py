"""What an engine consists of: its layers, the types they read and write, and the ONNX nodes each came from.

TensorRT says so in three forms, one a version: the build log's `Layers:` block and the inspector's JSON of TensorRT 11
and TensorRT-RTX (`Datatype` and `Format` apart), the JSON of TensorRT 10 (`Format/Datatype` in one text), and the build
log's `Engine Layer Information:` lines. All need the profiling verbosity DETAILED.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from efq.runtime.errors import EngineBuildError

_TYPES = {
    "float": "float32",
    "half": "float16",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "int8": "int8",
    "uint8": "uint8",
    "int4": "int4",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
    "fp8": "float8",
    "fp32": "float32",
    "fp16": "float16",
}
_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_LOG_LAYER = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: ")
_LOG_FIELD = re.compile(r"(?P<list>Inputs|Constants|Outputs): \[|Datatype: (?P<type>\w+)")
_OLD_LOG_LAYER = re.compile(
    r"^Layer\((?P<kind>\w+)\): (?P<name>.*?), Tactic: [^,]*, (?P<inputs>.*) -> (?P<outputs>.*)$"
)
_OLD_LOG_TYPE = re.compile(r"\((?P<type>[A-Za-z]\w*)\[")
_EIGHT_BITS = (("int8",), ("uint8",))
# TensorRT-RTX calls a float product that it fused with what follows a runtime_fusion.
_PRODUCT_KINDS = ("conv", "correlation", "gemm", "matrixmultiply", "matmul", "fullyconnected", "runtime_fusion")
_REFORMAT_KINDS = ("reformat", "copy", "shuffle", "nocopy")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A kernel of an engine.

    kind: TensorRT's LayerType. inputs, constants, outputs: dtypes ("int8", "float16"), one a tensor, weights among the
    constants where TensorRT says so. nodes: the ONNX nodes it was made from.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    tactic: str
    nodes: tuple[str, ...]

    @property
    def is_product(self) -> bool:
        """Whether it multiplies by weights: a convolution or matrix product."""
        return any(kind in self.kind.lower() for kind in _PRODUCT_KINDS)

    @property
    def is_reformat(self) -> bool:
        """Whether it only moves or converts a tensor."""
        return any(kind in self.kind.lower() for kind in _REFORMAT_KINDS)

    @property
    def is_integer(self) -> bool:
        """Whether a product's operands are 8-bit: its first input and, where told, its second or its weights."""
        others = (*self.inputs[1:2], *self.constants[:1])
        return self.inputs[:1] in _EIGHT_BITS and (not others or any((kind,) in _EIGHT_BITS for kind in others))


def layers_of_log(text: str) -> tuple[Layer, ...]:
    """The layers a verbose build log lists. Raises EngineBuildError when it lists none."""
    lines = text.splitlines()
    layers = [layer for line in lines if (layer := _layer_of_line(line)) is not None]
    return _required(layers, "the build log")


def layers_of_inspector(text: str) -> tuple[Layer, ...]:
    """The layers of the engine inspector's JSON. Raises EngineBuildError when it holds none with their types."""
    try:
        entries = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        message = f"expected the engine inspector's JSON with its Layers, found: {error!r}; build the engine again"
        raise EngineBuildError(message) from error
    return _required(
        [_layer_of_entry(entry) for entry in entries if isinstance(entry, Mapping)], "the inspector's JSON"
    )


def _required(layers: list[Layer], where: str) -> tuple[Layer, ...]:
    if not layers:
        message = f"expected layers with their types in {where}, found none: build with detailed profiling verbosity"
        raise EngineBuildError(message)
    return tuple(layers)


def _layer_of_line(line: str) -> Layer | None:
    if (match := _LOG_LAYER.search(line)) is not None:
        found: dict[str, list[str]] = {"Inputs": [], "Constants": [], "Outputs": []}
        current = "Inputs"
        for field in _LOG_FIELD.finditer(line.partition("TacticName:")[0], match.start("kind")):
            current = field["list"] or current
            if field["type"]:
                found[current].append(_type(field["type"]))
        return Layer(
            name=match["name"],
            kind=match["kind"],
            inputs=tuple(found["Inputs"]),
            constants=tuple(found["Constants"]),
            outputs=tuple(found["Outputs"]),
            tactic=line.partition("TacticName: ")[2].partition(",")[0],
            nodes=_nodes(line.partition("Metadata:")[2]),
        )
    match = _OLD_LOG_LAYER.search(line.strip())
    if match is None:
        return None
    return Layer(
        name=match["name"],
        kind=match["kind"],
        inputs=tuple(_type(name) for name in _OLD_LOG_TYPE.findall(match["inputs"])),
        constants=(),
        outputs=tuple(_type(name) for name in _OLD_LOG_TYPE.findall(match["outputs"])),
        tactic="",
        nodes=_nodes_of_name(match["name"]),
    )


def _layer_of_entry(entry: Mapping[str, Any]) -> Layer:
    name = str(entry.get("Name", ""))
    constants = _tensor_types(entry.get("Constants", ()))
    weights = entry.get("Weights")
    if isinstance(weights, Mapping) and "Type" in weights:
        constants = (_type(str(weights["Type"])), *constants)
    return Layer(
        name=name,
        kind=str(entry.get("LayerType", "")),
        inputs=_tensor_types(entry.get("Inputs", ())),
        constants=constants,
        outputs=_tensor_types(entry.get("Outputs", ())),
        tactic=str(entry.get("TacticName", "")),
        nodes=_nodes(str(entry.get("Metadata", ""))) or _nodes_of_name(name),
    )


def _tensor_types(tensors: Iterable[Any]) -> tuple[str, ...]:
    return tuple(_tensor_type(tensor) for tensor in tensors if isinstance(tensor, Mapping))


def _tensor_type(tensor: Mapping[str, Any]) -> str:
    """TensorRT 11 gives `Datatype`; TensorRT 10 a text such as `Row major Int8 format`."""
    if "Datatype" in tensor:
        return _type(str(tensor["Datatype"]))
    words = re.findall(r"\w+", str(tensor.get("Format/Datatype", "")).lower())
    return next((_TYPES[word] for word in reversed(words) if word in _TYPES), "unknown")


def _type(name: str) -> str:
    return _TYPES.get(name.lower(), name.lower())


def _nodes(metadata: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for entry in _ONNX_NODE.findall(metadata) for name in entry.split("\x1e")))


def _nodes_of_name(name: str) -> tuple[str, ...]:
    """Without metadata, TensorRT's fused names (`conv1 + PWN(relu1)`) say what a layer was made from."""
    return tuple(re.findall(r"[^\s+|(),\[\]{}]+", name))
