"""The student file: a lowered network that describes itself in plain values and tensors."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import CheckpointError
from efq.runtime.files import atomic_write_bytes
from efq.toolchain.backbones import read_checkpoint
from efq.toolchain.graph.operations import (
    OPERATIONS,
    WEIGHTED,
    ChannelAffine,
    Crop,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.traversal import to_channels_last
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer

FORMAT = "efq-student"
SCHEMA_VERSION = 1
_KINDS = {kind.__name__: kind for kind in OPERATIONS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """A quantized network and where it came from.

    network: uint8 (N, H, W, 3) images -> float32 (N, embedding_size) raw embeddings.
    backbone, recipe: the teacher's network and the recipe (plain values) the student was made with.
    teacher: {"name", "sha256", "licence"}; data: {"images", "identities", "sha256", "licence"} of the fine-tuning
    faces, with 0 images for a student that was only calibrated.
    thresholds: {"1e-3": cosine threshold, ...} on the fine-tuning faces.
    training_hashes: the first 16 hexadecimal digits of the SHA-256 of each fine-tuning image.
    notes: what lowering changed; training: steps, seconds and final losses.
    """

    network: fx.GraphModule
    backbone: str
    recipe: Mapping[str, Any]
    contract: InputContract
    embedding_size: int
    teacher: Mapping[str, str]
    data: Mapping[str, Any]
    activations: Mapping[str, str]
    notes: tuple[str, ...]
    training: Mapping[str, Any]
    thresholds: Mapping[str, float]
    training_hashes: tuple[str, ...]

    @property
    def widest_weight_bits(self) -> int:
        """Of the widest grid that any weights are on; 0 where none has a quantizer."""
        quantizers = (module for module in self.network.modules() if isinstance(module, WeightQuantizer))
        return max((quantizer.bits for quantizer in quantizers), default=0)

    @property
    def bits(self) -> dict[str, int]:
        """Of the grids that most "weights" and "activations" are on."""
        weights: int = self.recipe["weight_bits"]
        return {
            "weights": min(weights, self.widest_weight_bits or weights),
            "activations": self.recipe["activation_bits"],
        }


_PLAIN = ("backbone", "recipe", "embedding_size", "teacher", "data", "activations", "training", "thresholds")


def save_student(student: Student, path: Path) -> None:
    """Write the file in one step (beside, then renamed)."""
    content = {key: _plain(getattr(student, key)) for key in _PLAIN}
    content |= {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "contract": student.contract.to_dict(),
        "notes": list(student.notes),
        "graph": describe_graph(student.network),
        "weights": {key: value.detach().cpu() for key, value in student.network.state_dict().items()},
        "training_hashes": _pack_hashes(student.training_hashes),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    atomic_write_bytes(path, buffer.getvalue())


def is_student(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's content is a student file."""
    return content.get("format") == FORMAT


def load_student(path: Path) -> Student:
    """Read a student file. Raises CheckpointError when it is none, truncated, or of another schema."""
    content = read_checkpoint(path)
    if not is_student(content):
        message = (
            f"expected a student file made by efq-distill at {path}, found a checkpoint with the keys "
            f"{sorted(map(str, content))[:4]}"
        )
        raise CheckpointError(message)
    if content.get("schema_version") != SCHEMA_VERSION:
        message = (
            f"{path} has student schema {content.get('schema_version')!r}, this EFQ reads {SCHEMA_VERSION}: "
            "make it again with efq-distill, or install the EFQ that made it"
        )
        raise CheckpointError(message)
    try:
        network = build_graph(content["graph"])
        network.load_state_dict(content["weights"])
        return Student(
            network=network.eval(),
            contract=InputContract.from_dict(content["contract"]),
            notes=tuple(content["notes"]),
            training_hashes=_unpack_hashes(content["training_hashes"]),
            **{key: content[key] for key in _PLAIN},
        )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        message = f"{path} is not a complete student file ({error}): make it again with efq-distill"
        raise CheckpointError(message) from error


def describe_graph(network: fx.GraphModule) -> list[dict[str, Any]]:
    """One entry a node, in execution order: its name, module name, kind, constructor arguments and inputs."""
    entries = []
    for node in network.graph.nodes:
        entry: dict[str, Any] = {"name": node.name, "inputs": [source.name for source in node.all_input_nodes]}
        if node.op == "call_module":
            module = network.get_submodule(str(node.target))
            entry |= {"layer": str(node.target), "kind": type(module).__name__, "arguments": _arguments_of(module)}
        else:
            entry["kind"] = node.op
        entries.append(entry)
    return entries


def build_graph(entries: list[dict[str, Any]]) -> fx.GraphModule:
    """The network that `describe_graph` described, with weights still to be loaded."""
    root, graph = nn.Module(), fx.Graph()
    nodes: dict[str, fx.Node] = {}
    network = fx.GraphModule(root, graph)
    for entry in entries:
        inputs = tuple(nodes[name] for name in entry["inputs"])
        if entry["kind"] == "placeholder":
            nodes[entry["name"]] = graph.placeholder(entry["name"])
        elif entry["kind"] == "output":
            graph.output(inputs[0])
        else:
            network.add_submodule(entry["layer"], _build(entry["kind"], entry["arguments"]))
            nodes[entry["name"]] = graph.create_node("call_module", entry["layer"], inputs, {}, entry["name"])
    built = fx.GraphModule(network, graph)
    to_channels_last(built)
    return built


_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    QuantizedConv2d: _CONVOLUTION,
    QuantizedLinear: ("in_features", "out_features"),
    ChannelAffine: ("channels", "has_bias"),
    ActivationQuantizer: ("bits", "signed", "learn_zero_point", "upper_bound"),
    Crop: ("top", "bottom", "left", "right"),
    nn.PReLU: ("num_parameters",),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
}


def _arguments_of(module: nn.Module) -> dict[str, Any]:
    arguments = {name: _plain(getattr(module, name)) for name in _ARGUMENTS.get(type(module), ())}
    if isinstance(module, WEIGHTED):
        arguments["weight_bits"] = None if module.weight_quantizer is None else module.weight_quantizer.bits
    return arguments


def _build(kind: str, arguments: Mapping[str, Any]) -> nn.Module:
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    bits: Any = options.pop("weight_bits", None)
    module = _KINDS[kind](**options)
    if bits is not None:
        assert isinstance(module, WEIGHTED)
        module.weight_quantizer = WeightQuantizer(module.weight.shape[0], bits)
    return module


def _plain(value: Any) -> Any:
    """`value` with mappings as dicts and tuples as lists, as weights_only loading allows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _pack_hashes(hashes: tuple[str, ...]) -> Tensor:
    """(N, 8) uint8."""
    data = b"".join(bytes.fromhex(value) for value in hashes)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(-1, 8) if data else torch.zeros(0, 8).byte()


def _unpack_hashes(packed: Tensor) -> tuple[str, ...]:
    return tuple(bytes(row).hex() for row in packed.tolist())
