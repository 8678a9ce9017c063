"""A model of a Triton Inference Server repository: config.pbtxt and version 1.

Layout and fields: the server's user guide, "model repository" and "model configuration". Which backend runs an
artifact, its target says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from efq.export.serving.serve import ServingRequest
from efq.export.serving.triton_config import Value, Word, as_pbtxt
from efq.runtime.artifact.folder import ENGINE_FOLDER, MODEL_FILE, Artifact
from efq.runtime.backends.model import INPUT_NAME, OUTPUT_NAME, SMALL_PART, part_size
from efq.runtime.errors import EngineError, UsageError
from efq.runtime.files import atomic_directory, atomic_write_bytes, atomic_write_text
from efq.runtime.reading import read_bytes
from efq.runtime.tensorrt.build.builder import PLAN_FILE
from efq.runtime.tensorrt.engine_cache import read_fingerprint

ONNXRUNTIME, OPENVINO, TENSORRT = "onnxruntime", "openvino", "tensorrt"

CONFIG_FILE = "config.pbtxt"
LARGEST_BATCH = 64
QUEUE_MICROSECONDS = 500
"""For which a request waits for others: less than the shortest network takes."""

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_PLAN_LIMIT = 2**32


def write_triton(request: ServingRequest, folder: Path, force: bool) -> None:
    """Write the model's folder below the repository `folder`, whose other models stay.

    Raises UsageError for a target that no backend of Triton runs, or artifacts of different models; EngineError for an
    artifact whose target builds engines and that has none.
    """
    backend = request.target.triton_backend
    if backend not in (ONNXRUNTIME, OPENVINO, TENSORRT):
        message = (
            f"expected an artifact for a target that Triton has a backend for, found one for {request.target.name}: "
            "export the student for another target"
        )
        raise UsageError(message)
    if request.options.others and backend != TENSORRT:
        message = (
            f"expected artifacts with engines beside one for {request.target.name}, which has none: leave them out"
        )
        raise UsageError(message)
    with atomic_directory(folder / request.name, force=force) as model:
        fields, batches = _fields(request, backend), _batches(request, backend)
        if backend == TENSORRT:
            plans = dict(_plans(request))
            for name, (content, _) in plans.items():
                atomic_write_bytes(model / "1" / name, content)
            fields |= _plan_names({name: capability for name, (_, capability) in plans.items()})
        else:
            atomic_write_bytes(model / "1" / MODEL_FILE, request.artifact.model_bytes())
            fields["default_model_filename"] = MODEL_FILE
        atomic_write_text(model / CONFIG_FILE, as_pbtxt(fields | _batching(request, batches)))


def _fields(request: ServingRequest, backend: str) -> dict[str, Value]:
    manifest = request.artifact.manifest
    processor = "KIND_GPU" if backend == TENSORRT else "KIND_CPU"
    parameters: list[Value] = [_parameter("efq_model_sha256", request.sha256)]
    if backend == OPENVINO and manifest.surface.batch is None:
        # Its default is an error for a batch that is not full.
        parameters.append(_parameter("ENABLE_BATCH_PADDING", "YES"))
    return {
        "name": request.name,
        **({"platform": "tensorrt_plan"} if backend == TENSORRT else {"backend": backend}),
        "version_policy": {"latest": {"num_versions": 1}},
        "instance_group": [{"count": 1, "kind": Word(processor)}],
        "parameters": parameters,
    }


def _parameter(key: str, value: str) -> Value:
    return {"key": key, "value": {"string_value": value}}


def _batches(request: ServingRequest, backend: str) -> tuple[int, ...]:
    """Batch sizes to prefer, the largest last; none where the graph has one of its own."""
    if request.artifact.manifest.surface.batch is not None:
        return ()
    if backend == TENSORRT:
        _, optimal, largest = read_fingerprint(request.artifact.directory / ENGINE_FOLDER).options.batches
        return tuple(dict.fromkeys((optimal, largest)))
    size = part_size(len(request.artifact.model_bytes()))
    return (size,) if backend == OPENVINO else tuple(dict.fromkeys((SMALL_PART, size, LARGEST_BATCH)))


def _batching(request: ServingRequest, batches: tuple[int, ...]) -> dict[str, Value]:
    manifest = request.artifact.manifest
    image, batch = list(manifest.surface.image_shape(manifest.input)), manifest.surface.batch
    dtype, own = Word(_TYPES[manifest.surface.dtype]), [] if batch is None else [batch]
    fields: dict[str, Value] = {
        "max_batch_size": batches[-1] if batches else 0,
        "input": [{"name": INPUT_NAME, "data_type": dtype, "dims": own + image}],
        "output": [
            {"name": OUTPUT_NAME, "data_type": Word("TYPE_FP32"), "dims": [*own, manifest.embedding_size]},
        ],
    }
    if batches:
        fields["dynamic_batching"] = {
            "preferred_batch_size": list(batches),
            "max_queue_delay_microseconds": QUEUE_MICROSECONDS,
        }
    fields["model_warmup"] = [
        {
            "name": f"batch of {size or batch}",
            **({"batch_size": size} if size else {}),
            "inputs": [
                {"key": INPUT_NAME, "value": {"data_type": dtype, "dims": own + image, "zero_data": True}},
            ],
        }
        for size in (dict.fromkeys((1, *batches)) if batches else (0,))
    ]
    return fields


def _plans(request: ServingRequest) -> Iterator[tuple[str, tuple[bytes, str]]]:
    """By file name: the plan of each artifact, and its compute capability, "" for any from Ampere on.

    Raises EngineError where there is none or it is damaged, UsageError for one of another model or a second one for
    the same GPUs.
    """
    found: set[str] = set()
    for artifact in (request.artifact, *map(Artifact.open, request.options.others)):
        if artifact.checksums[MODEL_FILE] != request.sha256:
            message = (
                f"expected engines of the model in {request.artifact.directory}, found another one in "
                f"{artifact.directory}: copy the artifact to the other GPU's machine and build its engine there"
            )
            raise UsageError(message)
        folder = artifact.directory / ENGINE_FOLDER
        fingerprint = read_fingerprint(folder)
        plan = read_bytes(folder / PLAN_FILE, limit=_PLAN_LIMIT, expected="a plan", error_class=EngineError)
        if hashlib.sha256(plan).hexdigest() != fingerprint.plan_sha256 or fingerprint.onnx_sha256 != request.sha256:
            message = f"expected the engine of the artifact in {folder}, found another one: build it again"
            raise EngineError(message)
        anywhere = fingerprint.options.hardware_compatible or not fingerprint.compute_capabilities
        capability = "" if anywhere else fingerprint.compute_capabilities[0]
        if capability in found:
            message = f"expected one engine a GPU, found a second one for {capability or 'every GPU'} in {folder}"
            raise UsageError(message)
        found.add(capability)
        yield f"model_sm{capability.replace('.', '')}.plan" if capability else PLAN_NAME, (plan, capability)


PLAN_NAME = "model.plan"
"""Of an engine for every GPU, and the one that Triton looks for where none is named for a GPU."""


def _plan_names(capabilities: dict[str, str]) -> dict[str, Value]:
    named: list[Value] = [{"key": capability, "value": name} for name, capability in capabilities.items() if capability]
    return {"cc_model_filenames": named} if named else {"default_model_filename": PLAN_NAME}
