"""Folders of faces as people have them, in every command that takes one."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import cv2
import pytest
import torch
from artifacts import make_artifact
from click.testing import CliRunner, Result
from messages import names
from networks import TEACHER, draw_faces, make_teacher, write_faces

from efq.benchmarks.bench_command import main as bench
from efq.export.export_command import main as export
from efq.export.inspect_command import main as inspect
from efq.runtime.artifact.training_data import TrainingData
from efq.toolchain.distill_command import main as distill
from efq.toolchain.evaluate_command import main as evaluate
from efq.toolchain.student import load_student, save_student

FACES = draw_faces(people=8, each=6)
PAIRS = [
    f"p{i}/0.png\tp{(i + 1 - same) % 8}/{j}.png\t{same}\t{i % 2}" for j in (1, 2) for i in range(8) for same in (0, 1)
]
RECIPE = 'activation = "relu"\nidentities_per_batch = 4\ncalibration_images = 16\nfitting_images = 16\nsteps = 1\n'


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher.pt, tiny.toml and artifact/."""
    root = tmp_path_factory.mktemp("inputs")
    make_teacher(root / "teacher.pt")
    (root / "tiny.toml").write_text(RECIPE)
    make_artifact(root / "artifact", training_data=True)
    return root


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def write(root: Path, place_of: Callable[[int, int], str]) -> Path:
    """FACES of person and image where `place_of` says."""
    for place, face in enumerate(FACES):
        path = root / f"{place_of(place // 6, place % 6)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), face[:, :, ::-1])
    return root


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def evaluate_json(inputs: Path, *arguments: object) -> dict[str, object]:
    result = run(evaluate, inputs / "artifact", *arguments, "--threads", 1, "--bootstrap", 0, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def refused(command: click.Command, *arguments: object) -> str:
    """The error of a command that ends with exit code 1 and prints nothing else to its standard output."""
    result = run(command, *arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert "Traceback" not in result.stderr
    return result.stderr.partition("error: ")[2]


LAYOUTS: dict[str, tuple[Callable[[int, int], str], int]] = {
    "splits": (lambda person, image: f"{'train' if image < 3 else 'val'}/p{person}/{image}", 2),
    "poses": (lambda person, image: f"p{person}/{'frontal' if image < 3 else 'profile'}/{image}", 1),
    "nested": (lambda person, image: f"p{person}/{image}" if image < 3 else f"p{person}/more/{image}", 1),
    "splits of poses": (lambda person, image: f"s{image % 2}/p{person}/pose{image % 3}/{image}", 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_of_several_readings_are_asked_about(inputs: Path, tmp_path: Path, layout: str) -> None:
    place_of, level = LAYOUTS[layout]
    root = write(tmp_path / "faces", place_of)
    names(refused(evaluate, inputs / "artifact", "--faces", root), root, f"--identity-level {level}", "8 identities")
    found = evaluate_json(inputs, "--faces", root, "--identity-level", level)
    wanted = evaluate_json(inputs, "--faces", write(tmp_path / "plain", lambda person, image: f"p{person}/{image}"))
    assert found["all_pairs"] == wanted["all_pairs"]


def test_every_command_asks_and_takes_the_answer(inputs: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "faces", LAYOUTS["splits"][0])
    stray = root / "train" / "p5" / "stray.jpg"
    cv2.imwrite(str(stray), cv2.imread(str(root / "train" / "p1" / "0.png"))[:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    shutil.copytree(root / "train" / "p0", root / "val" / ".p0")
    (root / "train" / "p2" / "a.heic").write_bytes(b"x")
    (root / "train" / "p2" / "gone.png").symlink_to("/nowhere")
    teacher, student, out = inputs / "teacher.pt", tmp_path / "student.pt", tmp_path / "out"
    level = ("--identity-level", 2)
    line = f"47 faces of 8 identities in {root} (images of one: median 6, most 6)"
    left_out = ("train/p1/0.png = train/p5/stray.jpg", "val/.p0", ".heic 1", "train/p2/gone.png")
    of_teacher = (teacher, "--backbone", TEACHER)
    distilled = (*of_teacher, "--faces", root, "--recipe", inputs / "tiny.toml", "-o", student)
    exported = (*of_teacher, "--calibrate", root, "-o", out / "artifact")
    commands = [(distill, distilled), (export, exported), (evaluate, (*of_teacher, "--faces", root))]
    for command, arguments in commands:
        names(refused(command, *arguments), root, "--identity-level 2")
        result = run(command, *arguments, *level, *(() if command is not evaluate else ("--allow-training-images",)))
        assert result.exit_code == 0, result.output
        names(result.stderr, line, *left_out)
    examined = (student, "--sensitivity", "--faces", root)
    names(refused(inspect, *examined), "--identity-level 2")
    result = run(inspect, *examined, *level)
    assert result.exit_code == 0
    names(result.stderr, line, *left_out)
    compared = (out / "artifact", "--teacher", *of_teacher, "--rounds", 10, "--faces", root, "-o", out / "report")
    names(refused(bench, *compared), "--identity-level 2")
    seen = run(bench, *compared, *level)
    names(seen.stderr, line, *left_out, "47 of 49")
    assert seen.exit_code == 2


@pytest.mark.parametrize("level", ["0", "-1", "x", "1.5", "1e3", "", "²"])
def test_levels_that_are_none(inputs: Path, tmp_path: Path, level: str) -> None:
    result = run(evaluate, inputs / "artifact", "--faces", tmp_path, "--identity-level", level)
    assert (result.exit_code, result.stdout) == (2, "")
    names(result.stderr, "--identity-level")


def test_levels_without_folders(inputs: Path, tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces")
    names(refused(evaluate, inputs / "artifact", "--faces", root, "--identity-level", 2), "level 2", 24, "p0/0.png")


def test_what_is_left_out_is_said_and_changes_nothing(inputs: Path, tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces")
    clean = evaluate_json(inputs, "--faces", root)
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        shutil.copytree(root / "p0", root / "p1" / name)
        shutil.copytree(root / "p0", root / name)
    for name in ("a.heic", "b.gif", "c.npy", "Thumbs.db", ".DS_Store"):
        (root / "p2" / name).write_bytes(b"x")
    os.mkfifo(root / "p2" / "pipe.jpg")
    (root / "p2" / "gone.png").symlink_to("/nowhere")
    (root / "p3" / "loop").symlink_to(root)
    (root / "p4").rename(tmp_path / "elsewhere")
    (root / "p4").symlink_to(tmp_path / "elsewhere")
    assert evaluate_json(inputs, "--faces", root) == clean
    result = run(evaluate, inputs / "artifact", "--faces", root)
    facts = (".ipynb_checkpoints", ".heic 1", ".gif 1", ".npy 1", "p2/pipe.jpg", "p2/gone.png", "p3/loop")
    names(result.stderr, "left out", *facts)


def test_one_photo_under_two_people(inputs: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "faces", lambda person, image: f"p{person}/{image}")
    cv2.imwrite(str(root / "p5" / "stray.bmp.png"), cv2.imread(str(root / "p1" / "0.png")))
    found = evaluate_json(inputs, "--faces", root)
    assert found["duplicates"] == ["p1/0.png", "p5/stray.bmp.png"]
    (root / "p5" / "stray.bmp.png").unlink()
    (root / "p1" / "0.png").unlink()
    assert evaluate_json(inputs, "--faces", root)["all_pairs"] == found["all_pairs"]


def test_the_same_photo_twice_of_one_person_is_no_genuine_pair(inputs: Path, tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces")
    clean = evaluate_json(inputs, "--faces", root)
    shutil.copy(root / "p1" / "0.png", root / "p1" / "copy.png")
    found = evaluate_json(inputs, "--faces", root)
    assert (found["all_pairs"], found["duplicates"]) == (clean["all_pairs"], ["p1/copy.png"])
    (root / "pairs.txt").write_text("\n".join([*PAIRS, "p1/0.png\tp1/copy.png\t1\t0"]))
    (listed,) = evaluate_json(inputs, "--pairs", root / "pairs.txt")["pairs"]  # type: ignore[misc]
    assert (listed["pairs"], listed["skipped_pairs"], listed["chance"]) == (32, 1, 0.5)


def test_training_images_saved_again_are_not_unseen(inputs: Path, tmp_path: Path) -> None:
    """As JPEG files they were trained on; as PNG files of the same pixels they are measured on."""
    root, again = tmp_path / "faces", tmp_path / "again"
    for place, face in enumerate(FACES):
        path = root / f"p{place // 6}" / f"{place % 6}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), face[:, :, ::-1])
        copy = again / path.parent.name / f"{path.stem}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(copy), cv2.imread(str(path)))
    student, artifact = tmp_path / "student.pt", tmp_path / "artifact"
    trained = (inputs / "teacher.pt", "--backbone", TEACHER, "--faces", root, "--recipe", inputs / "tiny.toml")
    assert run(distill, *trained, "-o", student).exit_code == 0
    assert run(export, student, "-o", artifact).exit_code == 0
    for network in (student, artifact):
        result = run(evaluate, network, "--faces", again)
        assert (result.exit_code, result.stdout) == (2, "")
        names(result.stderr, network, "48 of 48")
        result = run(evaluate, network, "--faces", again, "--allow-training-images", "--json", "--bootstrap", 0)
        assert json.loads(result.stdout)["clean"] is False
    for path in sorted(again.rglob("*.png")):
        mirrored = cv2.imread(str(path))[2:-2, -3:1:-1]
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.resize(mirrored, (112, 112)), [cv2.IMWRITE_JPEG_QUALITY, 75])
        path.unlink()
    few = write_faces(tmp_path / "few", people=40, each=3)
    for path in few.rglob("*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    shutil.copy(again / "p0" / "0.jpg", few / "p39" / "0.jpg")
    assert run(export, student, "-o", tmp_path / "without", "--no-near-hashes").exit_code == 0
    without, full = (TrainingData.read(path / "training_data.json") for path in (tmp_path / "without", artifact))
    assert without == dataclasses.replace(full, near=None)
    for network in (student, artifact):
        result = run(evaluate, network, "--faces", again)
        assert (result.exit_code, result.stdout) == (2, "")
        names(result.stderr, network, "48 of 48", "48 of them")
        result = run(evaluate, network, "--faces", few, "--json", "--bootstrap", 0)
        assert result.exit_code == 0, result.output
        names(result.stderr, network, "1 of 121", "p39/0.jpg")
        found = json.loads(result.stdout)
        assert (found["clean"], found["model"]["training_images"]) == (False, 1)


def test_networks_of_older_versions_say_what_their_check_does_not_find(inputs: Path, tmp_path: Path) -> None:
    root, student = write_faces(tmp_path / "faces"), tmp_path / "student.pt"
    trained = (inputs / "teacher.pt", "--backbone", TEACHER, "--faces", root, "--recipe", inputs / "tiny.toml")
    assert run(distill, *trained, "-o", student).exit_code == 0
    content = torch.load(student, weights_only=True)
    assert len(content.pop("training_pixels")["hashes"]) == 24
    assert content.pop("training_near")["hashes"].shape == (24, 32)
    torch.save(content, student)
    assert load_student(student).training_pixel_hashes is None
    save_student(load_student(student), student)
    assert load_student(student).training_pixel_hashes is None
    assert run(export, student, "-o", tmp_path / "artifact").exit_code == 0
    training = TrainingData.read(tmp_path / "artifact" / "training_data.json")
    assert training.pixels is training.near is None
    others = write(tmp_path / "others", lambda person, image: f"p{person}/{image}")
    for path in others.rglob("*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    for network in (student, tmp_path / "artifact"):
        assert run(evaluate, network, "--faces", root).exit_code == 2
        result = run(evaluate, network, "--faces", others)
        assert result.exit_code == 0, result.output
        names(result.stderr, network, "saved again")


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        ([line for line in PAIRS if "\t1\t" in line], ("genuine", "fold 0")),
        ([line for line in PAIRS if "\t0\t" in line], ("impostor", "fold 0")),
        (PAIRS[:16], ("8 and 8", "10")),
        ([*PAIRS, "p0/0.png\tp0/0.png\t1\t0"], ("line 33", "p0/0.png")),
        ([*PAIRS, "p0/0.png\t./p0/0.png\t1\t0"], ("line 33", "p0/0.png")),
        ([*PAIRS, "p0/1.png\tp0/0.png\t0\t1"], ("line 2 and line 33", "p0/0.png", "p0/1.png")),
        ([line.replace("\t1\t", "\tx\t").replace("\t0\t", "\t1\t").replace("x", "0") for line in PAIRS], ("exchange",)),
        ([*PAIRS, *(f"q{i}/0.png\tp0/0.png\t1\t0" for i in range(9))], (9, "line 33", "'q0/0.png'")),
        ([*PAIRS, "p0/0.png\tp0/2.png\t1\t" + "9" * 30], ("line 33",)),
        ([*PAIRS, "p0/0.png\tp0/2.png\t1\t" + "9" * 5000], ("line 33",)),
    ],
)
def test_pairs_that_mean_nothing(inputs: Path, tmp_path: Path, lines: list[str], facts: tuple[object, ...]) -> None:
    root = write_faces(tmp_path / "faces")
    (root / "pairs.txt").write_text("\n".join(lines))
    names(refused(evaluate, inputs / "artifact", "--pairs", root / "pairs.txt"), *facts)


def test_sets_that_mean_nothing(inputs: Path, tmp_path: Path) -> None:
    one = write_faces(tmp_path / "one", people=1, each=9)
    names(refused(evaluate, inputs / "artifact", "--faces", one), "1 identities")
    singles = write_faces(tmp_path / "singles", people=20, each=1)
    names(refused(evaluate, inputs / "artifact", "--faces", singles), "0 genuine")


def test_rates_that_are_not_reached_are_not_given(inputs: Path, tmp_path: Path) -> None:
    result = run(evaluate, inputs / "artifact", "--faces", write_faces(tmp_path / "faces"))
    (line,) = [line for line in result.stdout.splitlines() if "TAR@FAR=1e-4" in line]
    names(line, "252", "300,000", "0.01")
    assert not any(character in line.partition("pairs")[2].partition("0.01")[0] for character in "123456789")


def test_a_folder_that_may_not_be_read(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing", tmp_path / "file", tmp_path / "file" / "below", Path("a" * 300)):
        names(refused(evaluate, inputs / "artifact", "--faces", path), path)
