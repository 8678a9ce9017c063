"""An artifact's files: each listed or refused, regular, inside the folder and of a bounded size."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import pytest
from artifacts import make_artifact
from messages import raises_naming
from text_mutations import full_parity

from efq.export.artifact.writer import update_parity
from efq.export.inspection.inspect import inspect
from efq.runtime import ChecksumError, Embedder, IncompatibleArtifactError, ParityRecord, SchemaError, UsageError
from efq.runtime.artifact.folder import (
    CARD_FILE,
    CHECKSUMS_FILE,
    ENGINE_FOLDER,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    TRAINING_DATA_FILE,
    Artifact,
    write_checksums,
)

FILES = (MODEL_FILE, MANIFEST_FILE, CHECKSUMS_FILE)
no_pipes = pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "artifact")


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@no_pipes
@pytest.mark.parametrize("name", FILES)
def test_a_named_pipe_is_refused_without_waiting(directory: Path, name: str) -> None:
    (directory / name).unlink()
    os.mkfifo(directory / name)
    with raises_naming(IncompatibleArtifactError, directory / name, "pipe"):
        Embedder.open(directory)


@pytest.mark.parametrize("name", FILES)
def test_a_huge_file_is_refused_without_reading_it(directory: Path, name: str) -> None:
    sparse(directory / name, 20 * 2**30)
    with raises_naming(IncompatibleArtifactError, directory / name, f"{20 * 2**30:,}"):
        Embedder.open(directory)


@no_pipes
@pytest.mark.parametrize("place", ["/dev/zero", "/etc/passwd", "../elsewhere"])
@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
def test_a_link_out_of_the_folder_is_refused(directory: Path, name: str, place: str) -> None:
    (directory.parent / "elsewhere").write_bytes((directory / name).read_bytes())
    (directory / name).unlink()
    (directory / name).symlink_to(place)
    with raises_naming(ChecksumError, directory / name, "link"):
        Embedder.open(directory)


@no_pipes
def test_links_of_a_hub_s_cache_are_followed(tmp_path: Path) -> None:
    """huggingface_hub keeps a file in `blobs` and links to it from `snapshots/<revision>`."""
    snapshot = make_artifact(tmp_path / "models--a--b" / "snapshots" / "0123")
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for path in list(snapshot.iterdir()):
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    Embedder.open(snapshot, threads=1).close()


@pytest.mark.parametrize(
    "name", ["model.bin", "sub/weights.bin", "calibration.py", "parity.json", "training_data.json"]
)
def test_a_file_that_is_not_listed_is_refused(directory: Path, name: str) -> None:
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("{}")
    with raises_naming(ChecksumError, directory, name):
        Artifact.open(directory)
    write_checksums(directory)
    Artifact.open(directory)


@no_pipes
def test_a_linked_folder_is_a_file_that_is_not_listed(directory: Path) -> None:
    (directory / "more").symlink_to("/etc")
    with raises_naming(ChecksumError, directory, "more"):
        Artifact.open(directory)


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._model.onnx", "Thumbs.db", "desktop.ini", ".git/config", ".ipynb_checkpoints/a", "__MACOSX/a"],
)
def test_what_systems_leave_is_no_file_of_the_artifact(directory: Path, name: str) -> None:
    before = (directory / CHECKSUMS_FILE).read_bytes()
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("left")
    Artifact.open(directory)
    write_checksums(directory)
    assert (directory / CHECKSUMS_FILE).read_bytes() == before


def test_the_engine_folder_has_hashes_of_its_own(directory: Path) -> None:
    (directory / ENGINE_FOLDER).mkdir()
    (directory / ENGINE_FOLDER / "build.log").write_text("")
    Artifact.open(directory)


def test_a_file_is_listed_once(directory: Path) -> None:
    listing = directory / CHECKSUMS_FILE
    listing.write_text(listing.read_text() + listing.read_text())
    with raises_naming(ChecksumError, f"{listing}:3"):
        Artifact.open(directory)


def test_what_is_read_later_is_what_was_verified(directory: Path) -> None:
    (directory / PARITY_FILE).write_text(full_parity().to_json())
    (directory / TRAINING_DATA_FILE).write_text('{"images": 1, "sha256_prefixes": ["0123456789abcdef"]}')
    write_checksums(directory)
    artifact = Artifact.open(directory)
    assert artifact.training_data().files == {"0123456789abcdef"}
    for name, read in ((PARITY_FILE, artifact.parity), (TRAINING_DATA_FILE, artifact.training_data)):
        (directory / name).write_text((directory / name).read_text() + "\n")
        with raises_naming(ChecksumError, directory / name):
            read()
    write_checksums(directory)  # does not make them what the manifest was opened with
    with raises_naming(ChecksumError, directory / PARITY_FILE):
        artifact.parity()


def test_no_training_data_and_others(directory: Path) -> None:
    with raises_naming(SchemaError, TRAINING_DATA_FILE):
        Artifact.open(directory).training_data()
    for text in ("[]", '{"images": 1}', '{"images": 0, "sha256_prefixes": ["0123456789abcdef"]}'):
        (directory / TRAINING_DATA_FILE).write_text(text)
        write_checksums(directory)
        with raises_naming(SchemaError, TRAINING_DATA_FILE):
            Artifact.open(directory).training_data()


@no_pipes
def test_an_evaluation_is_added_without_reading_or_writing_what_a_link_leads_to(directory: Path) -> None:
    evaluation = full_parity().evaluation
    assert evaluation is not None
    outside = directory.parent / "outside"
    outside.write_text("kept")
    (directory / ".zeros").symlink_to("/dev/zero")
    (directory / ENGINE_FOLDER).mkdir()
    (directory / ENGINE_FOLDER / "zeros").symlink_to("/dev/zero")
    manifest = Artifact.open(directory).manifest
    counts = {key: {"integer": 1, "total": 2} for key in ("convolutions", "matrix_products", "multiply_adds")}
    coverage = counts | {"float_islands": [], "runtime": "onnxruntime", "images": 0}
    make_artifact(directory, manifest=dataclasses.replace(manifest, coverage=coverage))
    update_parity(directory, evaluation)
    assert Artifact.open(directory).parity() == ParityRecord(evaluation=evaluation)
    assert (directory / ".zeros").is_symlink()
    assert (directory / ENGINE_FOLDER / "zeros").is_symlink()
    assert "50.00 %" in (directory / CARD_FILE).read_text()
    sparse(directory / ENGINE_FOLDER / "huge", 20 * 2**30)
    with raises_naming(UsageError, directory / ENGINE_FOLDER / "huge"):
        update_parity(directory, evaluation)
    assert Artifact.open(directory).parity() is not None


def test_an_inspection_is_of_the_files_that_were_verified(directory: Path) -> None:
    assert set(inspect(directory)["bytes"]) == {MODEL_FILE, MANIFEST_FILE, CHECKSUMS_FILE}
