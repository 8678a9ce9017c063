"""The same faces as a folder, in RecordIO and in tars: the same students, artifacts and figures, to the digit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from artifacts import make_artifact
from click.testing import CliRunner, Result
from messages import names
from networks import make_pattern_teacher, write_faces
from packed_faces import faces_of, folder_members, webdataset_members, write_recordio, write_tar

from efq.benchmarks.bench_command import main as bench
from efq.export.export_command import main as export
from efq.export.inspect_command import main as inspect
from efq.toolchain.data import open_faces
from efq.toolchain.distill_command import main as distill
from efq.toolchain.evaluate_command import main as evaluate
from efq.toolchain.student import load_student

RECIPE = 'activation = "relu"\nidentities_per_batch = 4\ncalibration_images = 16\nfitting_images = 16\nsteps = 1\n'
TEACHER = ("--backbone", "networks:pattern_network")  # of two layers: nothing here depends on it
FORMS = {
    "RecordIO": "records",
    "RecordIO file": "records/train.rec",
    "RecordIO with names": "named",
    "tar": "faces.tar",
    "samples": "samples.tar",
    "shards": "shards",
}
KEYED = ("named", "faces.tar", "shards")  # by the same names as in the folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same faces in all forms, list.txt, pairs.txt, teacher.pt, tiny.toml, artifact/."""
    root = tmp_path_factory.mktemp("inputs")
    faces = faces_of(write_faces(root / "faces"))
    write_recordio(root / "records", faces)
    write_recordio(root / "named", faces, names=True)
    members = folder_members(faces)
    write_tar(root / "faces.tar", members)
    write_tar(root / "samples.tar", webdataset_members(faces))
    for place in range(3):
        part = dict(itertools.islice(members.items(), place, None, 3))
        write_tar(root / "shards" / f"faces-{place:06d}.tar", part)
    keys = list(members)
    (root / "list.txt").write_text("\n".join(keys[:12]))
    pairs = enumerate([*itertools.pairwise(keys), *zip(keys, keys[3:], strict=False)])
    lines = [f"{one}\t{two}\t{int(one[:2] == two[:2])}\t{place % 2}\n" for place, (one, two) in pairs]
    (root / "pairs.txt").write_text("".join(lines))
    make_pattern_teacher(root / "teacher.pt", lambda pixels: (pixels - 127.5) / 127.5)
    (root / "tiny.toml").write_text(RECIPE)
    make_artifact(root / "artifact", training_data=True)
    return root


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(command: click.Command, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def both(command: click.Command, inputs: Path, form: str, arguments: tuple[object, ...]) -> tuple[str, str]:
    """What a command prints of the faces in a form, and in the folder: its arguments, where `...` stands for them."""
    found, wanted = (
        run(command, *(inputs / faces if one is ... else one for one in arguments)).stdout for faces in (form, "faces")
    )
    return found, wanted


@pytest.mark.parametrize("form", FORMS)
def test_figures_are_those_of_the_folder(inputs: Path, form: str) -> None:
    options: tuple[object, ...] = ("--bootstrap", 5, "--threads", 1, "--json")
    if FORMS[form] in KEYED:
        options += ("--list", inputs / "list.txt", "--pairs", inputs / "pairs.txt")
    found, wanted = map(
        json.loads, both(evaluate, inputs, FORMS[form], (inputs / "artifact", "--faces", ..., *options))
    )
    source = inputs / FORMS[form]
    assert found["faces"] == str(source / "train.rec" if source.name in ("records", "named") else source)
    assert found | {"faces": wanted["faces"]} == wanted
    assert found["images"] == 24


def test_students_are_trained_on_them(inputs: Path, tmp_path: Path) -> None:
    recipe = ("--recipe", inputs / "tiny.toml", *TEACHER, "--threads", 1)
    student = tmp_path / "student.pt"
    run(distill, inputs / "teacher.pt", "--faces", inputs / "records", *recipe, "-o", student)
    assert set(load_student(student).training_hashes) == open_faces(inputs / "faces").short_hashes
    refused(evaluate, 24, student, "--faces", inputs / "samples.tar")
    examined = both(inspect, inputs, "faces.tar", (student, "--sensitivity", "--faces", ..., "--json"))
    assert examined[0] == examined[1]


def test_artifacts_are_calibrated_on_them_and_not_measured(inputs: Path, tmp_path: Path) -> None:
    teacher = (inputs / "teacher.pt", *TEACHER)
    run(export, *teacher, "--calibrate", inputs / "shards", "--list", inputs / "list.txt", "-o", tmp_path / "artifact")
    refused(
        bench, 12, tmp_path / "artifact", "--teacher", *teacher, "--faces", inputs / "named", "-o", tmp_path / "out"
    )


def refused(command: click.Command, seen: int, *arguments: object) -> None:
    """Assert that a command opens all 24 faces, and refuses to measure a network on those of them it has seen."""
    result = CliRunner().invoke(command, [*map(str, arguments)])
    assert result.exit_code == 2, result.output
    names(result.stderr, "24 faces of 8 identities", f"{seen} of 24")
