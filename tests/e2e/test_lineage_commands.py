"""Licences and origin through the commands: from a teacher into a student, an artifact and what describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from messages import names
from networks import make_teacher, write_faces

from efq.export.export_command import main as export
from efq.export.inspect_command import main as inspect
from efq.runtime.reading import sha256_file
from efq.toolchain.distill_command import main as distill
from efq.toolchain.distillation.licences import Licences, find_origin
from efq.toolchain.teachers import open_teacher

LICENCE, PROVENANCE = "non-commercial research only", "trained on faces of unknown origin"
RECIPE = 'activation = "relu"\nsteps = 0\nidentities_per_batch = 4\ncalibration_images = 16\n'
MODULE = f"""
import networks

def network():
    return networks.teacher_network()

network.licence = {LICENCE!r}
network.provenance = {PROVENANCE!r}
"""
REASON = "we trained these weights ourselves"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher.pt, tiny.toml, faces/ and a module whose network's licence is non-commercial."""
    root = tmp_path_factory.mktemp("inputs")
    make_teacher(root / "teacher.pt")
    (root / "restricted.py").write_text(MODULE)
    (root / "tiny.toml").write_text(RECIPE)
    write_faces(root / "faces")
    return root


@pytest.fixture(autouse=True)
def surroundings(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(inputs))


def run(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def make_student(inputs: Path, output: Path, *options: object) -> Result:
    fixed = ("--backbone", "restricted:network", "--recipe", inputs / "tiny.toml", "--threads", 1, "-o", output)
    return run(distill, inputs / "teacher.pt", "--faces", inputs / "faces", *fixed, *options)


@pytest.fixture(scope="module")
def student(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("student") / "student.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFQ_CACHE", str(output.parent / "cache"))
        patch.syspath_prepend(str(inputs))
        result = make_student(inputs, output, "--data-name", "owner/faces", "--data-licence", "cc by 4.0")
    assert result.exit_code == 0, result.output
    return output


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--teacher-licence", "MIT"), ("MIT", LICENCE, "--licence-reason")),
        (("--licence", "apache-2.0"), ("Apache-2.0", LICENCE, "--licence-reason")),
        (("--teacher-licence", LICENCE, "--data-licence", "GPL-3.0", "--licence", LICENCE), ("GPL-3.0-only", LICENCE)),
        (("--licence-reason", REASON), ("--licence-reason", "--licence")),
    ],
)
def test_a_wider_licence_needs_a_reason(
    inputs: Path, tmp_path: Path, options: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    result = make_student(inputs, tmp_path / "student.pt", *options)
    assert result.exit_code == 2, result.output
    names(result.stderr, *facts)
    assert not (tmp_path / "student.pt").exists()


def test_a_reason_is_kept(inputs: Path) -> None:
    teacher = open_teacher(inputs / "teacher.pt", "restricted:network")
    found = find_origin(teacher, Licences(teacher="apache 2.0", reason=REASON))
    assert found.teacher["licence"] == "Apache-2.0"
    assert (found.lineage.teacher_known_licence, found.lineage.licence_reason) == (LICENCE, REASON)
    assert found.lineage.teacher_licence_source == "stated by the user"


def test_the_chain_from_teacher_to_artifact(inputs: Path, student: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    result = run(export, student, "-o", artifact)
    assert result.exit_code == 0, result.output
    manifest = json.loads((artifact / "manifest.json").read_text())
    teacher, own = (sha256_file(path, expected="a file") for path in (inputs / "teacher.pt", student))
    assert (manifest["licence"], manifest["teacher"]["sha256"]) == (LICENCE, teacher)
    lineage = manifest["lineage"]
    assert lineage.pop("student_efq")
    assert lineage == {
        "teacher_licence_source": "as published",
        "teacher_provenance": PROVENANCE,
        "dataset": "owner/faces",
        "code_licence": "Apache-2.0",
        "student_sha256": own,
    }
    props = {prop.key: prop.value for prop in onnx.load(artifact / "model.onnx").metadata_props}
    assert props["model_license"] == props["efq.teacher_licence"] == LICENCE
    assert (props["efq.student_sha256"], props["efq.teacher_sha256"]) == (own, teacher)
    assert (props["efq.data_licence"], props["efq.code_licence"]) == ("CC-BY-4.0", "Apache-2.0")
    names((artifact / "README.md").read_text(), PROVENANCE, own, teacher, "CC-BY-4.0", "owner/faces", "Apache-2.0")
    for model in (artifact, student):
        found = json.loads(run(inspect, model, "--json").stdout)
        assert (found["licence"], found["teacher"]["sha256"]) == (LICENCE, teacher)
        assert found["lineage"]["teacher_provenance"] == PROVENANCE
        names(run(inspect, model).stdout, LICENCE, PROVENANCE)


def test_an_export_relabels_with_a_reason_only(student: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    refused = run(export, student, "-o", artifact, "--licence", "MIT")
    assert refused.exit_code == 2
    names(refused.stderr, LICENCE, "MIT", "--licence-reason")
    assert not artifact.exists()
    useless = run(export, student, "-o", artifact, "--teacher-licence", "MIT")
    assert useless.exit_code == 2
    names(useless.stderr, "--teacher-licence")
    result = run(export, student, "-o", artifact, "--licence", "MIT", "--licence-reason", REASON)
    assert result.exit_code == 0, result.output
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["licence"] == manifest["lineage"]["stated_licence"] == "MIT"
    names((artifact / "README.md").read_text(), "license: mit", f"Reason given: {REASON}", LICENCE)
    names(run(inspect, artifact).stdout, REASON)


def test_a_student_from_before_has_no_lineage_and_is_exported(student: Path, tmp_path: Path) -> None:
    content = torch.load(student, weights_only=True)
    del content["lineage"]
    torch.save(content, tmp_path / "older.pt")
    result = run(export, tmp_path / "older.pt", "-o", tmp_path / "artifact")
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    assert manifest["licence"] == LICENCE
    assert set(manifest["lineage"]) == {"student_sha256"}
