"""efq-bench --certify as a user runs it: a certificate in the artifact, gates, and what other commands say of it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from messages import names
from tiny_teacher import BACKBONE, artifact_of, tiny_network, write_checkpoint

from efq.benchmarks.bench_command import main
from efq.benchmarks.drawn_faces.identity import random_identity
from efq.benchmarks.drawn_faces.renderer import draw_face
from efq.benchmarks.drawn_faces.view import random_view
from efq.export.inspect_command import main as inspect_main
from efq.runtime import Embedder
from efq.runtime.artifact.folder import Artifact
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.reading import sha256_file

IDENTITIES, IMAGES_EACH = 20, 6
ALL_GATES = ("--max-drop", "100", "--max-flips", "100", "--max-cohort-gap", "100")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher: the artifact's network with a little noise, so that the artifact costs something."""
    return write_checkpoint(tmp_path_factory.mktemp("teacher") / "tiny.pt", noise=0.15)


@pytest.fixture
def artifact(tmp_path: Path, checkpoint: Path) -> Path:
    return artifact_of(tmp_path / "artifact", checkpoint)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views of drawn people, one image that cannot be decoded, and cohorts.csv of the people."""
    root = tmp_path_factory.mktemp("faces")
    generator = np.random.default_rng(0)
    for identity in range(IDENTITIES):
        folder, person = root / f"person{identity:02}", random_identity(generator)
        folder.mkdir()
        for image in range(IMAGES_EACH):
            cv2.imwrite(str(folder / f"{image}.png"), draw_face(person, random_view(generator)))
    (root / "person00" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    rows = [f"person{identity:02},{('one', 'other')[identity % 2]}" for identity in range(IDENTITIES)]
    (root / "cohorts.csv").write_text("\n".join(["identity,group", *rows]) + "\n")
    return root


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))


def bench(*arguments: object) -> Result:
    tiny = ["--backbone", BACKBONE, "--rounds", "2", "--seconds", "0.1"]
    return CliRunner().invoke(main, [*tiny, *(str(argument) for argument in arguments)])


def test_an_artifact_is_certified_and_every_command_says_so(
    artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path
) -> None:
    said = CliRunner().invoke(inspect_main, [str(artifact)])
    names(said.stdout, "efq-bench", "--certify")
    out = tmp_path / "out"
    options = ["--certify", "--cohorts", faces / "cohorts.csv", *ALL_GATES, "-o", out]
    result = bench(artifact, "--teacher", checkpoint, "--faces", faces, *options)
    assert result.exit_code == 0, result.stderr
    opened = Artifact.open(artifact)
    certificate = opened.certificate()
    assert certificate is not None
    assert {"certificate.json", "certificate.html"} <= set(opened.checksums)
    assert Certificate.from_json((out / "certificate.json").read_text(encoding="utf-8")) == certificate
    assert (out / "certificate.html").read_bytes() == (artifact / "certificate.html").read_bytes()
    protocol = certificate.protocol
    assert (protocol.images, protocol.identities) == (IDENTITIES * IMAGES_EACH, IDENTITIES)
    assert (protocol.attempts, protocol.failures_to_enrol) == (IDENTITIES * IMAGES_EACH + 1, 1)
    assert certificate.binding.teacher_sha256 == sha256_file(checkpoint, expected="a file")
    assert certificate.cohorts is not None
    assert [cohort.name for cohort in certificate.cohorts.cohorts] == ["one", "other"]
    assert [gate.name for gate in certificate.gates] == [name for name in ALL_GATES if name.startswith("--")]
    assert 0.9 < certificate.cosine.mean < 1
    Embedder.open(artifact, threads=1)
    card = (artifact / "README.md").read_text(encoding="utf-8")
    names(card, f"{certificate.deployed.remapped.threshold:.4f}", "fnmr_at_fmr")
    printed = CliRunner().invoke(inspect_main, [str(artifact), "--json"])
    found = json.loads(printed.stdout)["certificate"]
    assert found["certified"] is True
    assert found["remapped_threshold"] == certificate.deployed.remapped.threshold
    names(CliRunner().invoke(inspect_main, [str(artifact)]).stdout, str(certificate.deployed.remapped.threshold))
    # A later benchmark without --certify measures parity again, and leaves the certificate.
    assert bench(artifact, "--teacher", checkpoint, "--faces", faces, "-o", tmp_path / "again").exit_code == 0
    assert Artifact.open(artifact).certificate() == certificate
    assert "fnmr_at_fmr" in (artifact / "README.md").read_text(encoding="utf-8")


def test_gates_that_fail_end_with_3_and_leave_the_artifact_uncertified(
    artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("--certify", "--max-drop", "100", "--max-flips", "0.001", "-o", out)
    result = bench(artifact, "--teacher", checkpoint, "--faces", faces, *asked)
    certificate = Certificate.from_json((out / "certificate.json").read_text(encoding="utf-8"))
    drop, flips = certificate.gates
    assert drop.passed
    assert not flips.passed
    assert flips.found == pytest.approx(100 * certificate.deployed.flips_remapped.genuine.value, rel=1e-4)
    assert result.exit_code == 3, result.stderr
    names(result.stderr, "--max-flips", "tiny", f"{flips.found:g}")
    assert not (artifact / "parity.json").exists()
    assert Artifact.open(artifact).certificate() is None


def test_what_is_wrong_is_said_before_the_work(artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path) -> None:
    given = (artifact, "--teacher", checkpoint, "-o", tmp_path / "out")
    compared = (*given, "--faces", faces)
    other = tmp_path / "other.pt"
    torch.save({name: torch.randn_like(value) for name, value in tiny_network().state_dict().items()}, other)
    for arguments, code, facts in (
        ((*given, "--certify"), 2, ("--certify", "--faces")),
        ((*compared, "--max-drop", "1"), 2, ("--max-drop", "--certify")),
        ((*compared, "--deployed-threshold", "0.3"), 2, ("--deployed-threshold", "--certify")),
        ((*compared, "--certify", "--max-cohort-gap", "1"), 2, ("--max-cohort-gap", "--cohorts")),
        ((*compared, "--certify", "--deployed-threshold", "1.5"), 2, ("--deployed-threshold", 1.5)),
        ((*compared, "--certify", "--max-drop", "-1"), 2, ("--max-drop",)),
        (
            (artifact, "--teacher", other, "--faces", faces, "-o", tmp_path / "out", "--certify"),
            2,
            (other, sha256_file(other, expected="a file"), sha256_file(checkpoint, expected="a file")),
        ),
    ):
        result = bench(*arguments)
        assert result.exit_code == code, result.stderr
        names(result.stderr, *facts)
        assert not (tmp_path / "out").exists()
