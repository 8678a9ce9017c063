"""What is at a path that no format of networks takes: a sentence on what it is, and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from efq.runtime.errors import CheckpointError
from efq.runtime.file_kinds import FIRST_BYTES, FileKind, kind_of_bytes
from efq.runtime.reading import FILE_LIMIT, open_regular

_FOLDERS = (  # by a file in it: what it is, what to do
    (
        "saved_model.pb",
        "a TensorFlow SavedModel",
        "export the network to ONNX: python -m tf2onnx.convert --saved-model {folder} --output model.onnx",
    ),
    ("Data/com.apple.CoreML/model.mlmodel", "a Core ML package", "export the network it was made of to ONNX"),
    (
        ".metadata",
        "a distributed checkpoint of torch",
        "make it one file: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pt",
    ),
    (
        "model.safetensors.index.json",
        "a checkpoint in parts",
        "join them: w = {{}}; for each part w.update(safetensors.torch.load_file(part)); torch.save(w, 'weights.pt')",
    ),
    ("model.safetensors", "a folder with a checkpoint", "give the file {folder}/model.safetensors"),
    ("pytorch_model.bin", "a folder with a checkpoint", "give the file {folder}/pytorch_model.bin"),
    ("inference.pdmodel", "a Paddle model", "export the network to ONNX with paddle2onnx --model_dir {folder}"),
)


def refuse_other_file(path: Path, expected: str) -> NoReturn:
    """Raises CheckpointError saying what is at `path`, which is no file of a known network."""
    refuse_foreign_folder(path, expected)
    if path.name.endswith(".index.json"):
        _, found, advice = _FOLDERS[3]
        message = f"expected {expected} at {path}, found the index of {found}; {advice.format(folder=path.parent)}"
        raise CheckpointError(message)
    with open_regular(path, limit=FILE_LIMIT, expected=expected, error_class=CheckpointError) as file:
        kind = kind_of_bytes(file.read(FIRST_BYTES))
    message = f"expected {expected} at {path}, found {found_kind(kind)}"
    raise CheckpointError(message)


def refuse_foreign_folder(path: Path, expected: str) -> None:
    """Raises CheckpointError for a folder that another tool made, saying what it is."""
    for name, found, advice in _FOLDERS:
        if path.is_dir() and (path / name).is_file():
            message = f"expected {expected} at {path}, found {found} ({name}); {advice.format(folder=path)}"
            raise CheckpointError(message)


def found_kind(kind: FileKind | None) -> str:
    """For the end of a message: what a file is by its first bytes, and what to do with it."""
    return kind.sentence if kind is not None else "a file of no format that is known"
