"""efq-bench through its command line, on a tiny network that exists as a torch checkpoint and as an artifact."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from messages import names
from networks import TEACHER, make_faces, make_teacher
from packed_pairs import write_set
from tiny_teacher import BACKBONE, artifact_of, tiny_network, write_checkpoint

from efq.benchmarks.bench_command import main
from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.benchmarks.peers.openvino import computes_bfloat16
from efq.export.exporter import export_student
from efq.export.targets import find_target
from efq.runtime import Embedder
from efq.runtime.artifact.folder import Artifact, write_checksums
from efq.runtime.artifact.parity import ParityRecord
from efq.runtime.reading import sha256_file
from efq.toolchain.distillation import distill
from efq.toolchain.recipes.recipe import Recipe

IDENTITIES, IMAGES_EACH = 14, 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("teacher") / "tiny.pt")


@pytest.fixture
def artifact(tmp_path: Path, checkpoint: Path) -> Path:
    return artifact_of(tmp_path / "artifact", checkpoint)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn faces, moved and with noise, with a pairs file in it."""
    root = tmp_path_factory.mktemp("faces")
    generator = np.random.default_rng(0)
    for identity, base in enumerate(drawn_faces(IDENTITIES)):
        folder = root / f"person{identity:02}"
        folder.mkdir()
        for image in range(IMAGES_EACH):
            moved = np.roll(base, (3 * image, -3 * image), axis=(0, 1))
            noisy = np.clip(moved + generator.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{image}.png"), noisy)
    pairs = [
        f"person{i:02}/0.png\tperson{(i + 1 - same) % IDENTITIES:02}/1.png\t{same}\t{i % 2}"
        for i in range(IDENTITIES)
        for same in (0, 1)
    ]
    (root / "pairs.txt").write_text("\n".join(pairs) + "\n")
    return root


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))


def bench(*arguments: object) -> Result:
    """Run efq-bench with the tiny backbone and few rounds."""
    tiny = ["--backbone", BACKBONE, "--rounds", "12"]
    return CliRunner().invoke(main, [*tiny, *(str(argument) for argument in arguments)])


def test_latency_only(artifact: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = bench(artifact, "--teacher", checkpoint, "--batch", "1,3", "--json", "-o", out)
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert [(setting["batch"], setting["threads"]) for setting in printed["latency"]] == [(1, 1), (3, 1)]
    assert [network["network"] for network in printed["latency"][0]["networks"]] == [printed["reference"], "tiny"]
    assert printed["accuracy"] is None
    names(printed["faces"], "--faces")
    names((out / "report.md").read_text(encoding="utf-8"), printed["faces"])
    assert not (artifact / "parity.json").exists()


def test_accuracy_report_and_parity_record(artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compared = ["--faces", faces, "--pairs", faces / "pairs.txt", "--min-cosine", "0.9999", "--min-decisions", "0.999"]
    result = bench(artifact, "--teacher", checkpoint, *compared, "-o", out)
    assert result.exit_code == 0, result.stderr
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["accuracy"]["images"] == IDENTITIES * IMAGES_EACH
    teacher, tiny = report["accuracy"]["networks"]
    assert teacher["tar"] == tiny["tar"]
    assert tiny["ten_fold"].keys() == {"pairs"}
    assert report["accuracy"]["parity"][0]["cosine_min"] == pytest.approx(1.0, abs=1e-5)
    assert all("cores busy" in note for note in report["notes"])  # of this machine, nothing of the networks
    assert {path.name for path in (out / "plots").iterdir()} == {
        "latency_batch1_threads1.png",
        "roc.png",
        "cosine.png",
        "pareto.png",
    }
    assert "| tiny" in result.stdout
    evaluation = ParityRecord.from_json((artifact / "parity.json").read_text(encoding="utf-8")).evaluation
    assert evaluation is not None
    assert evaluation.teacher.equal_decisions == report["accuracy"]["parity"][0]["equal_decisions"]
    assert evaluation.faces.images == IDENTITIES * IMAGES_EACH
    assert evaluation.accuracy.artifact.thresholds == tiny["thresholds"]
    Embedder.open(artifact, threads=1)


def test_a_failed_gate_ends_with_3_and_leaves_the_artifact_alone(
    artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path
) -> None:
    network = tiny_network()
    other = tmp_path / "other.pt"
    torch.save({name: torch.randn_like(value) for name, value in network.state_dict().items()}, other)
    result = bench(artifact, "--teacher", other, "--faces", faces, "--min-cosine", "0.99", "-o", tmp_path / "out")
    assert result.exit_code == 3
    names(result.stderr, 0.99, "tiny")
    notes = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["notes"]
    (note,) = (note for note in notes if "teacher" in note)
    names(note, "tiny", Artifact.open(artifact).manifest.teacher["name"])
    names((tmp_path / "out" / "report.md").read_text(encoding="utf-8"), note)
    assert not (artifact / "parity.json").exists()


def test_faces_an_artifact_was_fine_tuned_on_are_refused(
    artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path
) -> None:
    prefix = sha256_file(faces / "person03" / "2.png", expected="a file")[:16]
    (artifact / "training_data.json").write_text(json.dumps({"images": 1, "sha256_prefixes": [prefix]}))
    write_checksums(artifact)
    result = bench(artifact, "--teacher", checkpoint, "--faces", faces, "-o", tmp_path / "out")
    assert result.exit_code == 2
    names(result.stderr.partition("error: ")[2], artifact, 1, IDENTITIES * IMAGES_EACH, "person03/2.png")


def test_a_verification_set_alone(artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path) -> None:
    """It brings its images; of all pairs nothing is said."""
    lines = [line.split("\t") for line in (faces / "pairs.txt").read_text().splitlines()]
    images = [(faces / path).read_bytes() for line in lines for path in line[:2]]
    packed = write_set(tmp_path / "lfw.bin", images, [line[2] == "1" for line in lines])
    out = tmp_path / "out"
    result = bench(artifact, "--teacher", checkpoint, "--pairs", packed, "--min-cosine", "0.9999", "-o", out)
    assert result.exit_code == 0, result.stderr
    accuracy = json.loads((out / "report.json").read_text(encoding="utf-8"))["accuracy"]
    assert (accuracy["identities"], accuracy["genuine_pairs"], accuracy["impostor_pairs"]) == (0, *[IDENTITIES] * 2)
    assert [list(network["ten_fold"]) for network in accuracy["networks"]] == [["lfw"], ["lfw"]]
    assert not (out / "plots" / "roc.png").exists()
    evaluation = ParityRecord.from_json((artifact / "parity.json").read_text(encoding="utf-8")).evaluation
    assert evaluation is not None
    assert evaluation.accuracy.artifact.ten_fold == accuracy["networks"][1]["ten_fold"]
    Embedder.open(artifact, threads=1)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--batch", "1,x"], ("--batch", "1,x")),
        (["--threads", "0"], ("--threads", "0")),
        (["--min-cosine", "0.9"], ("--min-cosine", "--faces")),
        (["--list", "some.txt"], ("--list", "--faces")),
        (["--pairs", "lfw.bin", "--min-decisions", "0.9"], ("--min-decisions", "--faces")),
    ],
)
def test_usage_errors(
    artifact: Path, checkpoint: Path, tmp_path: Path, arguments: list[str], facts: tuple[str, ...]
) -> None:
    result = bench(artifact, "--teacher", checkpoint, *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    names(result.stderr, *facts)
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_said_without_a_traceback(artifact: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert bench(tmp_path / "none", "--teacher", checkpoint, "-o", out).exit_code == 5
    assert bench(artifact, "--teacher", tmp_path / "none.pt", "-o", out).exit_code == 1
    assert bench(artifact, "--teacher", checkpoint, "--faces", tmp_path / "none", "-o", out).exit_code == 1
    assert not out.exists()


def test_a_full_output_folder_is_kept(artifact: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("kept")
    result = bench(artifact, "--teacher", checkpoint, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_torch_student_beside_its_artifact(faces: Path, tmp_path: Path) -> None:
    """--student: the artifact is held against the student computed in integers, and both are drawn."""
    teacher = make_teacher(tmp_path / "teacher.pt")
    recipe = Recipe(name="tiny", activation="prelu", steps=0, identities_per_batch=4)
    student = distill(teacher, make_faces(), recipe, tmp_path / "student.pt")
    export_student(student, find_target("ort-cpu"), tmp_path / "artifact", bits=8)
    out = tmp_path / "out"
    files = ["--teacher", teacher.path, "--backbone", TEACHER, "--student", tmp_path / "student.pt", "--faces", faces]
    gates = ["--rounds", 12, "--min-cosine", 0.999, "--min-decisions", 0.999, "--json", "-o", out]
    result = CliRunner().invoke(main, [str(value) for value in (tmp_path / "artifact", *files, *gates)])
    assert result.exit_code == 0, result.output
    pairs = json.loads(result.stdout)["accuracy"]["parity"]
    (against_student,) = [pair for pair in pairs if pair["reference"].endswith("(torch student)")]
    assert against_student["cosine_min"] > 0.999
    assert (out / "plots" / "roc.png").stat().st_size > 10_000


@pytest.mark.slow
def test_everything_a_user_could_pick(
    artifact: Path, checkpoint: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf", reason="needs nncf: pip install 'efq[peers]'")
    here = Path(__file__).parent  # torch's process has to find the backbone
    paths = [str(here), str(here.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    out = tmp_path / "out"
    settings = ["--peers", "--batch", "1,4", "--threads", "1,2", "--title", "Tiny"]
    result = bench(artifact, "--teacher", checkpoint, "--faces", faces, *settings, "-o", out)
    assert result.exit_code == 0, result.stderr
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    networks = [network["name"] for network in report["networks"]]
    assert networks[1] == "tiny", report["notes"]
    assert {name.split(" (")[0] for name in networks[2:]} >= {
        *("quantize_static u8", "quantize_static s8", "quantize_dynamic", "float32"),
        *("NNCF INT8 performance", "NNCF INT8 mixed", "torch.compile float32"),
    }
    assert ("torch.compile bfloat16" in networks) == ("bfloat16 (OpenVINO)" in networks) == computes_bfloat16()
    assert len(report["latency"]) == 4
    assert all(len(setting["networks"]) == len(networks) for setting in report["latency"])
    assert [network["network"] for network in report["accuracy"]["networks"]] == networks
    assert [footprint["network"] for footprint in report["footprints"]] == networks
    assert report["floor"]["multiply_adds_per_ns"] > 0
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Tiny\n")
    assert "\n| batch 4, 2 threads | tiny |" in markdown  # against its fastest rival
    assert (out / "plots" / "throughput.png").stat().st_size > 10_000
