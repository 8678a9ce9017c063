"""A tiny real artifact, made in code: uint8 faces -> convolution -> linear -> unit length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from efq.runtime import InputContract, Manifest
from efq.runtime.artifact.folder import MANIFEST_FILE, MODEL_FILE, model_metadata, write_checksums
from efq.runtime.artifact.manifest import REDUCED_RANGE

EMBEDDING_SIZE = 16
PATCH = 16


def make_manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "name": "tiny",
        "target": "ort-cpu",
        "bits": {"weights": 8, "activations": 8},
        "backbone": "tiny",
        "recipe": {"activation": "relu", REDUCED_RANGE: True},
        "input": InputContract(),
        "embedding_size": EMBEDDING_SIZE,
        "teacher": {"name": "random", "sha256": "0" * 64, "licence": "Apache-2.0"},
        "data": {"images": 2, "identities": 1, "sha256": "1" * 64, "licence": "none"},
        "licence": "Apache-2.0",
        "thresholds": {"1e-3": 0.31},
        "coverage": {"multiply_adds": 1.0},
        "tools": {"onnx": onnx.__version__},
        "created": "2026-01-01",
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]


def weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Convolution (8, 3, 16, 16) and linear (392, 16) weights, always the same."""
    generator = np.random.default_rng(0)
    convolution = generator.normal(size=(8, 3, PATCH, PATCH)) / PATCH
    linear = generator.normal(size=(8 * (112 // PATCH) ** 2, EMBEDDING_SIZE))
    return convolution.astype(np.float32), linear.astype(np.float32)


def reference_embeddings(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the tiny model computes, in NumPy and float64: the reference."""
    convolution, linear = weights()
    patches = images.astype(np.float64).reshape(-1, 7, PATCH, 7, PATCH, 3) / 255
    features = np.einsum("nyixjc,ocij->noyx", patches, convolution).reshape(len(images), -1)
    embeddings = features @ linear
    return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))


def make_model(manifest: Manifest, *, batch: str | int = "N", output_name: str = "embeddings") -> onnx.ModelProto:
    convolution, linear = weights()
    nodes = [
        helper.make_node("DequantizeLinear", ["images", "scale"], ["pixels"]),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "convolution"], ["maps"], strides=[PATCH, PATCH]),
        helper.make_node("Flatten", ["maps"], ["features"]),
        helper.make_node("MatMul", ["features", "linear"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], [output_name], axis=1),
    ]
    initializers = {"scale": np.float32(1 / 255), "convolution": convolution, "linear": linear}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 112, 112, 3])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [batch, EMBEDDING_SIZE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(model, model_metadata(manifest))
    return model


def make_artifact(
    directory: Path,
    *,
    manifest: Manifest | None = None,
    model: onnx.ModelProto | None = None,
    name: str = "tiny",
    training_data: bool = False,
) -> Path:
    """Write an artifact into `directory` and return it; `model` replaces the one that fits the manifest.

    With `training_data` it says that it was fine-tuned on no images, which the commands that measure accuracy read.
    """
    manifest = manifest or make_manifest(name=name)
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model or make_model(manifest), directory / MODEL_FILE)
    (directory / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    if training_data:
        (directory / "training_data.json").write_text('{"images": 0, "sha256_prefixes": []}', encoding="utf-8")
    write_checksums(directory)
    return directory


def random_faces(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)
