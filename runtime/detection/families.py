"""The table of detector families, and which of them a network is of."""

from __future__ import annotations

from pathlib import Path

from efq.runtime.detection.family import Family, Signature
from efq.runtime.detection.scrfd import Scrfd
from efq.runtime.detection.yunet import YuNet
from efq.runtime.errors import IncompatibleArtifactError

FAMILIES: tuple[Family, ...] = (YuNet(), Scrfd())

_SHOWN = 12


def find_family(signature: Signature, path: Path) -> Family:
    """The family of the network at `path`. Raises IncompatibleArtifactError, with its outputs, for one of none."""
    shapes = list(signature.inputs.values())
    fits = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] in (3, str(shapes[0][1]))
    fits = fits and shapes[0][0] in (1, str(shapes[0][0]))
    for family in FAMILIES:
        if fits and family.recognizes(signature):
            return family
    names = ", ".join(f"{name} {list(shape)}" for name, shape in list(signature.outputs.items())[:_SHOWN])
    inputs = ", ".join(str(list(shape)) for shape in shapes)
    message = (
        f"expected a face detector with five landmarks, {' or '.join(family.name for family in FAMILIES)}, at {path}, "
        f"found the inputs {inputs} and the outputs {names}; other detectors: give their landmarks in a CSV file "
        "(--landmarks)"
    )
    raise IncompatibleArtifactError(message)
