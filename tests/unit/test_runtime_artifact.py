from __future__ import annotations

import json
import subprocess
from pathlib import Path

import onnx
import pytest
from artifacts import make_artifact, make_manifest, random_faces
from messages import raises_naming

from efq.runtime import ChecksumError, Embedder, IncompatibleArtifactError, ParityRecord, SchemaError
from efq.runtime.artifact.folder import (
    CHECKSUMS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    Artifact,
    read_checksums,
    write_checksums,
)
from efq.runtime.reading import sha256_file


def test_opens_a_whole_artifact(tiny_artifact: Path) -> None:
    artifact = Artifact.open(tiny_artifact)
    assert artifact.manifest == make_manifest()
    assert artifact.model_path == tiny_artifact / MODEL_FILE


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact")
    (directory / "engines").mkdir()
    (directory / "engines" / "a b.plan").write_bytes(b"plan")
    write_checksums(directory)
    assert sorted(read_checksums(directory)) == ["engines/a b.plan", MANIFEST_FILE, MODEL_FILE]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS_FILE], cwd=directory, check=True)


def test_no_artifact_there(tmp_path: Path) -> None:
    with raises_naming(IncompatibleArtifactError, tmp_path / "nothing", "efq-export"):
        Artifact.open(tmp_path / "nothing")
    (tmp_path / "taken").write_text("")
    with raises_naming(IncompatibleArtifactError, tmp_path / "taken", "file"):
        Artifact.open(tmp_path / "taken")
    with raises_naming(SchemaError, tmp_path / MANIFEST_FILE):
        Artifact.open(tmp_path)


@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
def test_a_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    directory = make_artifact(tmp_path / "artifact")
    data = (directory / name).read_bytes()
    (directory / name).write_bytes(data.replace(b"tiny", b"tini"))
    recorded, found = read_checksums(directory)[name], sha256_file(directory / name, expected="a file")
    with raises_naming(ChecksumError, directory / name, recorded, found):
        Artifact.open(directory)


@pytest.mark.parametrize("name", [MODEL_FILE, CHECKSUMS_FILE])
def test_a_missing_file_is_found(tmp_path: Path, name: str) -> None:
    directory = make_artifact(tmp_path / "artifact")
    (directory / name).unlink()
    with raises_naming(ChecksumError, directory / name):
        Artifact.open(directory)


@pytest.mark.parametrize(
    "line",
    [
        f"{'0' * 64}  ../outside",
        f"{'0' * 64}  /etc/passwd",
        f"{'0' * 64}  a/../../outside",
        f"{'0' * 64}  ..\\outside",
        f"{'0' * 64}  C:outside",
        f"{'0' * 63}  short",
        "nonsense",
    ],
)
def test_a_listing_that_cannot_be_trusted_is_refused(tmp_path: Path, line: str) -> None:
    directory = make_artifact(tmp_path / "artifact")
    with (directory / CHECKSUMS_FILE).open("a") as file:
        file.write(line + "\n")
    with raises_naming(ChecksumError, f"{directory / CHECKSUMS_FILE}:3", repr(line)):
        Artifact.open(directory)


@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
def test_the_listing_must_cover_the_model_and_the_manifest(tmp_path: Path, name: str) -> None:
    directory = make_artifact(tmp_path / "artifact")
    listing = directory / CHECKSUMS_FILE
    listing.write_text("".join(line for line in listing.read_text().splitlines(keepends=True) if name not in line))
    with raises_naming(ChecksumError, name, listing):
        Artifact.open(directory)


def test_unknown_schema_version(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact")
    values = json.loads((directory / MANIFEST_FILE).read_text())
    (directory / MANIFEST_FILE).write_text(json.dumps(values | {"schema_version": 3}))
    write_checksums(directory)
    with raises_naming(SchemaError, MANIFEST_FILE, "schema_version", 1, 2, 3, "pip install --upgrade efq"):
        Artifact.open(directory)


def test_an_artifact_of_version_1_opens(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact", manifest=make_manifest(schema_version=1))
    artifact = Artifact.open(directory)
    artifact.check_model_metadata({prop.key: prop.value for prop in onnx.load(artifact.model_path).metadata_props})
    with Embedder.open(directory, backend="onnxruntime") as embedder:
        assert embedder.embed(random_faces(1)).shape == (1, 16)


def test_the_parity_record_of_an_artifact(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact")
    assert Artifact.open(directory).parity() is None
    record = ParityRecord(export_check={"images": 16})
    (directory / PARITY_FILE).write_text(record.to_json(), encoding="utf-8")
    write_checksums(directory)
    assert Artifact.open(directory).parity() == record
    (directory / PARITY_FILE).write_text("{}", encoding="utf-8")
    write_checksums(directory)
    with pytest.raises(SchemaError):
        Artifact.open(directory).parity()
