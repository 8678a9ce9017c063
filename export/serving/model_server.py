"""A model of OpenVINO Model Server: NAME/1/model.onnx, and config.json that names it.

Layout: the server's pages "Preparing a Model Repository" and "Model Server Parameters"
(https://docs.openvino.ai/2025/model-server/ovms_docs_parameters.html).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from efq.export.serving.serve import ServingRequest
from efq.export.serving.triton import OPENVINO
from efq.runtime.artifact.folder import MODEL_FILE
from efq.runtime.backends.model import INPUT_NAME, OUTPUT_NAME
from efq.runtime.errors import InputError, UsageError
from efq.runtime.files import atomic_directory, atomic_write_bytes, atomic_write_text
from efq.runtime.reading import read_json

CONFIG_FILE = "config.json"

_LIMIT = 2**22


def write_model_server(request: ServingRequest, folder: Path, force: bool) -> None:
    """Write the model below `folder`, and its entry into the config.json there, whose other models stay.

    Raises UsageError for an artifact for another runtime than OpenVINO, InputError for a config.json that is none.
    """
    if request.target.triton_backend != OPENVINO:
        message = (
            f"expected an artifact for OpenVINO, which computes for the Model Server, found one for "
            f"{request.target.name}: export the student with --target openvino"
        )
        raise UsageError(message)
    config = _config(folder / CONFIG_FILE)
    with atomic_directory(folder / request.name, force=force) as model:
        atomic_write_bytes(model / "1" / MODEL_FILE, request.artifact.model_bytes())
    models = [entry for entry in config["model_config_list"] if entry["config"].get("name") != request.name]
    entry = {"config": _model_config(request)}
    changed = config | {"model_config_list": [*models, entry]}
    atomic_write_text(folder / CONFIG_FILE, json.dumps(changed, indent=2) + "\n")


def _model_config(request: ServingRequest) -> dict[str, Any]:
    """The CPU computes what is not integer in float32, as everywhere; without it, in bfloat16 where it can."""
    layout = "N" + request.artifact.manifest.surface.layout[1:]
    return {
        "name": request.name,
        "base_path": request.name,
        "target_device": "CPU",
        "layout": {INPUT_NAME: layout, OUTPUT_NAME: "NC"},
        "plugin_config": {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"},
    }


def _config(path: Path) -> dict[str, Any]:
    """What is there, or a config of no model."""
    if not path.exists():
        return {"model_config_list": []}
    found = read_json(path, expected="the config of OpenVINO Model Server", limit=_LIMIT, error_class=InputError)
    entries = found.get("model_config_list") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("config"), dict) for entry in entries
    ):
        message = f"expected a model_config_list in {path}, as OpenVINO Model Server reads it, found none: move it away"
        raise InputError(message)
    assert isinstance(found, dict)
    return found
