"""What InsightFace's code makes of a photo before a recognizer: crops of its own, of the faces its detector finds."""

from __future__ import annotations

from pathlib import Path

import onnx

from efq.export.serving.serve import ServingRequest
from efq.runtime.artifact.folder import LARGEST_MODEL
from efq.runtime.errors import InputError, UsageError
from efq.runtime.reading import read_bytes

ALIGNMENT = "arcface-112"

_DETECTOR_OUTPUTS = 5  # InsightFace's rule: a network of at least so many is SCRFD


def check_arcface_crop(request: ServingRequest, title: str, *, sizes: tuple[int, ...] | None = None) -> int:
    """The side of the crops that InsightFace's code aligns, a multiple of 16. Raises UsageError for others."""
    contract = request.artifact.manifest.input
    side = contract.height
    fits = contract.height == contract.width and side % 16 == 0 and (side % 112 == 0 or side % 128 == 0)
    if not fits or (sizes and side not in sizes) or contract.alignment != ALIGNMENT:
        wanted = " or ".join(f"{size}x{size}" for size in sizes or (112, 128, 224, 256))
        message = (
            f"expected crops of {wanted} aligned to {ALIGNMENT} for {title}, which makes them itself, found "
            f"{contract.height}x{contract.width} aligned to {contract.alignment}: another server, or efq.runtime, can "
            "serve this artifact"
        )
        raise UsageError(message)
    return side


def detector_bytes(path: Path) -> bytes:
    """A detector's file. Raises InputError for one that InsightFace would not take for SCRFD."""
    content = read_bytes(path, limit=LARGEST_MODEL, expected="a detector's ONNX file", error_class=InputError)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError is not typed
        message = f"expected the ONNX file of a face detector at {path}, found bytes that are none ({error})"
        raise InputError(message) from error
    if len(model.graph.output) < _DETECTOR_OUTPUTS:
        message = (
            f"expected SCRFD, a detector of 6 or 9 outputs, at {path}, found {len(model.graph.output)}: give a file of "
            "InsightFace's, such as det_10g.onnx"
        )
        raise InputError(message)
    return content
