"""A model package of InsightFace's Python package: its folder below `models/` with manifest.json of version 2.

`insightface.model_zoo.get_model(FOLDER, model_task="recognition")` reads the manifest; releases before it take the
lexicographically last .onnx of the folder for the recognizer, which this one is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from efq.export.serving.arcface import check_arcface_crop, detector_bytes
from efq.export.serving.serve import ServingRequest
from efq.runtime.files import atomic_directory, atomic_write_bytes, atomic_write_text

RECOGNIZER, DETECTOR = "recognition.onnx", "detection.onnx"
MANIFEST_FILE, LICENCE_FILE = "manifest.json", "MODEL.LICENSE"
PREPROCESSING = "insightface-arcface-1"

_TITLE = "InsightFace's package"


def write_insightface(request: ServingRequest, folder: Path, force: bool) -> None:
    """Write the package NAME below `folder`.

    Raises UsageError for crops that the package does not align, InputError for a detector that is none.
    """
    side, manifest = check_arcface_crop(request, _TITLE), request.artifact.manifest
    recognizer = request.artifact.model_bytes()
    tasks: dict[str, Any] = {}
    detector = None if request.options.detector is None else detector_bytes(request.options.detector)
    if detector is not None:
        tasks["detection"] = {"file": DETECTOR, "sha256": hashlib.sha256(detector).hexdigest()}
    tasks["recognition"] = {
        "file": RECOGNIZER,
        "sha256": request.sha256,
        "preprocessing": {"mean": 127.5, "std": 127.5},
        "preprocessing_version": PREPROCESSING,
        "input_size": [side, side],
        "embedding_dimension": manifest.embedding_size,
    }
    described = {
        "manifest_version": 2,
        "model_id": request.name,
        "display_name": manifest.name,
        "tasks": tasks,
        "license": LICENCE_FILE,
    }
    with atomic_directory(folder / request.name, force=force) as package:
        atomic_write_bytes(package / RECOGNIZER, recognizer)
        if detector is not None:
            atomic_write_bytes(package / DETECTOR, detector)
        atomic_write_text(package / LICENCE_FILE, f"{manifest.licence}\n")
        atomic_write_text(package / MANIFEST_FILE, json.dumps(described, indent=2) + "\n")
