"""Which output of an ONNX graph is the embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import fx

from efq.toolchain.graph.from_onnx.builder import BATCH, Activation, GraphBuilder, Value
from efq.toolchain.graph.from_onnx.model_file import OnnxModel
from efq.toolchain.graph.from_onnx.refusal import refuse

LEAST, MOST = 16, 8192
"""Numbers of an embedding."""

_NO_EMBEDDING = "give a network that embeds a face, with one output (N, d): one that finds faces or landmarks has none"


def embedding_size(shape: Sequence[int]) -> int | None:
    """The numbers an image of an embedding, (N, d), (N, d, 1, 1) or (d,); None for what is none."""
    sizes = [size for size in shape if size != 1] if len(shape) != 3 else []
    if len(sizes) == 1 and sizes[0] % BATCH == 0:  # the batch of one image left out
        sizes = [BATCH, sizes[0] // BATCH]
    fits = len(sizes) == 2 and sizes[0] == BATCH and LEAST <= sizes[1] <= MOST
    return sizes[1] if fits else None


def check_declared_outputs(model: OnnxModel) -> None:
    """Raises OnnxRefusalError where the file itself says that no output can be an embedding."""
    shapes = [model.shapes.get(name) for name in model.outputs]
    if len(shapes) > 2 and all(shape is not None and _has_places(shape) for shape in shapes):
        found = f"{len(shapes)} outputs, none of them an embedding: {_shown(model, shapes)}"
        refuse(found, _NO_EMBEDDING)


def _has_places(shape: Sequence[int | None]) -> bool:
    """Whether an output has figures of several places in the image."""
    return len(shape) == 3 or (len(shape) == 4 and not all(size in (1, None) for size in shape[2:]))


def _shown(model: OnnxModel, shapes: Sequence[Sequence[int | None] | None]) -> str:
    found = [
        f"{name[:40]} ({', '.join('?' if size is None else str(size) for size in shape or ())})"
        for name, shape in zip(model.outputs, shapes, strict=True)
    ]
    return ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")


def embedding_output(model: OnnxModel, values: Mapping[str, Value], builder: GraphBuilder) -> str:
    """The output of (N, d); of several the one that the others are computed from.

    Raises OnnxRefusalError where there is none, or more than one.
    """
    found = {}
    for name in dict.fromkeys(model.outputs):
        value = values[name]
        if isinstance(value, Activation) and embedding_size(value.shape) is not None:
            found[name] = value.node
    if not found:
        shapes = [_free(values[name].shape) for name in model.outputs]
        refuse(f"no output that is an embedding: {_shown(model, shapes)}", _NO_EMBEDDING)
    first = [name for name, node in found.items() if not any(_behind(node, other) for other in found.values())]
    if len(first) > 1:
        names = ", ".join(name[:40] for name in first[:4])
        refuse(f"{len(first)} outputs that may be the embedding ({names})", "keep one of them")
    if len(model.outputs) > 1:
        size = embedding_size(values[first[0]].shape)
        builder.note(f"of {len(model.outputs)} outputs, {first[0]!r} is taken for the embedding, of {size} numbers")
    return first[0]


def _free(shape: Sequence[int]) -> list[int | None]:
    return [None if size % BATCH == 0 else size for size in shape]


def _behind(node: fx.Node, other: fx.Node) -> bool:
    """Whether `node` is computed from `other`."""
    waiting, seen = list(node.all_input_nodes), set()
    while waiting:
        found = waiting.pop()
        if found is other:
            return True
        if found not in seen:
            seen.add(found)
            waiting.extend(found.all_input_nodes)
    return False
