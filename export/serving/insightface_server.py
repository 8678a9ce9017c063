"""The models folder of InsightFace Server: manifest.json of version 1 with a detector and the recognizer.

The server reads exactly these keys, normalizes faces to (pixel - 127.5) / 127.5, and starts only with a MODEL.LICENSE
for the manifest's model_id that InsightFace has signed: EFQ cannot write that, and names where it belongs.
"""

from __future__ import annotations

import json
from pathlib import Path

from efq.export.serving.arcface import check_arcface_crop, detector_bytes
from efq.export.serving.insightface import DETECTOR, LICENCE_FILE, MANIFEST_FILE, PREPROCESSING, RECOGNIZER
from efq.export.serving.serve import ServingRequest
from efq.runtime.errors import UsageError
from efq.runtime.files import atomic_directory, atomic_write_bytes, atomic_write_text, refuse_inputs

_TITLE = "InsightFace Server"


def write_insightface_server(request: ServingRequest, folder: Path, force: bool) -> None:
    """Write `folder` as a whole. Raises UsageError without a detector or for crops that the server does not align."""
    side, manifest = check_arcface_crop(request, _TITLE), request.artifact.manifest
    if request.options.detector is None:
        message = (
            f"expected --detector FILE.onnx for {_TITLE}, whose manifest names one, found none: give InsightFace's"
        )
        raise UsageError(message)
    refuse_inputs(folder, {"the artifact": request.artifact.directory, "the detector": request.options.detector})
    detector = detector_bytes(request.options.detector)
    package = request.name
    described = {
        "manifest_version": 1,
        "model_id": request.name,
        "model_version": f"{manifest.created}-{request.sha256[:12]}",
        "display_name": manifest.name,
        "files": {"detector": f"{package}/{DETECTOR}", "recognizer": f"{package}/{RECOGNIZER}"},
        "recognition": {
            "input_size": [side, side],
            "embedding_dimension": manifest.embedding_size,
            "preprocessing": PREPROCESSING,
        },
        "license": f"{package}/{LICENCE_FILE}",
    }
    with atomic_directory(folder, force=force) as models:
        atomic_write_bytes(models / package / RECOGNIZER, request.artifact.model_bytes())
        atomic_write_bytes(models / package / DETECTOR, detector)
        atomic_write_text(models / MANIFEST_FILE, json.dumps(described, indent=2) + "\n")
