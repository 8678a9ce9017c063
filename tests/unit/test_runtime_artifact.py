from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from artifacts import make_artifact, make_manifest

from efq.runtime import ChecksumError, IncompatibleArtifactError, ParityRecord, SchemaError
from efq.runtime.artifact.folder import (
    CHECKSUMS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    Artifact,
    read_checksums,
    write_checksums,
)


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
    with pytest.raises(IncompatibleArtifactError, match="found nothing; make one with efq-export"):
        Artifact.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(IncompatibleArtifactError, match="found a file"):
        Artifact.open(tmp_path / "file")
    with pytest.raises(SchemaError, match=MANIFEST_FILE):
        Artifact.open(tmp_path)


@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
def test_a_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    directory = make_artifact(tmp_path / "artifact")
    data = (directory / name).read_bytes()
    (directory / name).write_bytes(data.replace(b"tiny", b"tini"))
    with pytest.raises(ChecksumError, match=f"{name}, found"):
        Artifact.open(directory)


@pytest.mark.parametrize("name", [MODEL_FILE, CHECKSUMS_FILE])
def test_a_missing_file_is_found(tmp_path: Path, name: str) -> None:
    directory = make_artifact(tmp_path / "artifact")
    (directory / name).unlink()
    with pytest.raises(ChecksumError, match=name):
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
    with pytest.raises(ChecksumError, match=f"{CHECKSUMS_FILE}:3"):
        Artifact.open(directory)


@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
def test_the_listing_must_cover_the_model_and_the_manifest(tmp_path: Path, name: str) -> None:
    directory = make_artifact(tmp_path / "artifact")
    listing = directory / CHECKSUMS_FILE
    listing.write_text("".join(line for line in listing.read_text().splitlines(keepends=True) if name not in line))
    with pytest.raises(ChecksumError, match=f"expected the hash of {name}"):
        Artifact.open(directory)


def test_unknown_schema_version(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact")
    values = json.loads((directory / MANIFEST_FILE).read_text())
    (directory / MANIFEST_FILE).write_text(json.dumps(values | {"schema_version": 2}))
    write_checksums(directory)
    with pytest.raises(SchemaError, match="update efq"):
        Artifact.open(directory)


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
