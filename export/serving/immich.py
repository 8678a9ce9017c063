"""A face model in Immich's cache: facial-recognition/NAME/recognition/model.onnx, and the detector beside it.

Immich asks for models by the names of InsightFace's packages, downloads what is not in its cache, aligns faces to
112x112, feeds (pixel - 127.5) / 127.5 in RGB, and wants the batch axis free and named "batch", as EFQ writes it.
"""

from __future__ import annotations

from pathlib import Path

from efq.export.serving.arcface import check_arcface_crop, detector_bytes
from efq.export.serving.serve import ServingRequest
from efq.runtime.artifact.folder import MODEL_FILE
from efq.runtime.errors import UsageError
from efq.runtime.files import atomic_directory, atomic_write_bytes

NAMES = ("buffalo_l", "buffalo_m", "buffalo_s", "antelopev2")
"""Those that Immich's settings offer, its default first."""

_TITLE = "Immich"


def write_immich(request: ServingRequest, folder: Path, force: bool) -> None:
    """Write the recognizer, and the detector where one is given, below Immich's cache `folder`.

    Raises UsageError for a name Immich does not ask for, crops it does not make, or a fixed batch.
    """
    check_arcface_crop(request, _TITLE, sizes=(112,))
    name = request.options.name or NAMES[0]
    if name not in NAMES:
        message = f"expected one of the names that {_TITLE} asks for, {', '.join(NAMES)}; found {name!r}"
        raise UsageError(message)
    if request.artifact.manifest.surface.batch is not None:
        message = (
            f"expected a free batch for {_TITLE}, which feeds all faces of a photo at once, found "
            f"{request.artifact.manifest.surface}: export it without batch="
        )
        raise UsageError(message)
    detector = None if request.options.detector is None else detector_bytes(request.options.detector)
    models = folder / "facial-recognition" / name
    with atomic_directory(models / "recognition", force=force) as recognition:
        atomic_write_bytes(recognition / MODEL_FILE, request.artifact.model_bytes())
    if detector is not None:
        with atomic_directory(models / "detection", force=force) as detection:
            atomic_write_bytes(detection / MODEL_FILE, detector)
