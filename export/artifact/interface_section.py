"""The section of a model card on the graph's surface, with the lines that feed it."""

from __future__ import annotations

from efq.runtime.artifact.manifest import Manifest
from efq.runtime.backends.model import INPUT_NAME, OUTPUT_NAME
from efq.runtime.faces.interface import Interface


def interface_section(manifest: Manifest) -> str:
    """Empty for the usual surface, which the rest of the card describes."""
    interface = manifest.surface
    if interface.is_usual:
        return ""
    taken = interface.describe(manifest.input)
    lines = [
        "import numpy",
        "import onnxruntime\n",
        'session = onnxruntime.InferenceSession("model.onnx")',
        *_feed(interface),
        f'embeddings = session.run(["{OUTPUT_NAME}"], {{"{INPUT_NAME}": numpy.ascontiguousarray(batch)}})[0]',
    ]
    return (
        f"## Interface\n\n`model.onnx` takes {taken} (`--interface {interface}`). `efq.runtime` takes the same images "
        "as above and prepares them; without it, of `faces`, uint8 RGB as above:\n\n"
        "```python\n" + "\n".join(lines) + "\n```\n"
    )


def _feed(interface: Interface) -> list[str]:
    lines = ["batch = faces" if interface.color_order == "rgb" else "batch = faces[..., ::-1]"]
    if interface.batch is not None:
        lines[0] += f"  # {interface.batch} of them, no more and no fewer"
    if interface.normalization is not None and not interface.is_raw:
        mean, std = (
            _numbers(values if interface.color_order == "rgb" else values[::-1])
            for values in (interface.normalization.mean, interface.normalization.std)
        )
        lines.append(f"batch = (batch - numpy.float32({mean})) / numpy.float32({std})")
    elif interface.is_raw:
        lines.append("batch = batch.astype(numpy.float32)")
    if interface.layout == "NCHW":
        lines.append("batch = batch.transpose(0, 3, 1, 2)")
    return lines


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]!r}" if len(set(values)) == 1 else f"[{', '.join(map(repr, values))}]"
