"""A face format of another package: commands read it as they read a folder, with no file of EFQ touched."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from artifacts import make_artifact
from click.testing import CliRunner, Result
from extensions import install
from messages import names
from networks import TEACHER, make_teacher, write_faces

from efq.toolchain import distill_command, evaluate_command
from efq.toolchain.student import load_student

RECIPE = 'activation = "relu"\nidentities_per_batch = 4\ncalibration_images = 16\nfitting_images = 16\n'
CODE = '''
"""Faces in a .zip file: person/name.png."""

import zipfile


class ZipSource:
    def __init__(self, path):
        self.name = str(path)
        self._file = zipfile.ZipFile(path)
        self._entries = {entry.filename: entry for entry in self._file.infolist() if entry.filename.endswith(".png")}

    def keys(self):
        return tuple(sorted(self._entries))

    def __contains__(self, key):
        return key in self._entries

    def identity(self, key):
        return key.rpartition("/")[0]

    def fingerprint(self, key):
        return self.name, self._entries[key].CRC, self._entries[key].file_size

    def read(self, key):
        return self._file.read(key)


class ZipFormat:
    name = "zip"

    def recognizes(self, path):
        return path.suffix == ".zip" and zipfile.is_zipfile(path)

    def open(self, path):
        return ZipSource(path)


FORMAT = ZipFormat()
'''


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faces/ and the same faces in faces.zip, list.txt, pairs.txt, teacher.pt, tiny.toml, artifact/."""
    root = tmp_path_factory.mktemp("inputs")
    write_faces(root / "faces")
    keys = sorted(path.relative_to(root / "faces").as_posix() for path in (root / "faces").rglob("*.png"))
    with zipfile.ZipFile(root / "faces.zip", "w") as archive:
        archive.writestr("README.md", "not an image")
        for key in keys:
            archive.write(root / "faces" / key, key)
    (root / "list.txt").write_text("\n".join(keys[:12]))
    pairs = enumerate([*itertools.pairwise(keys), *zip(keys, keys[3:], strict=False)])
    lines = [f"{one}\t{two}\t{int(one[:2] == two[:2])}\t{place % 2}\n" for place, (one, two) in pairs]
    (root / "pairs.txt").write_text("".join(lines))
    make_teacher(root / "teacher.pt")
    (root / "tiny.toml").write_text(RECIPE)
    make_artifact(root / "artifact", training_data=True)
    return root


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """That of a process which has the package, and the tests' networks."""
    folder = tmp_path_factory.mktemp("package")
    found = install(folder / "site", name="toy_zip", code=CODE, entry_points={"efq.faces": {"zip": "toy_zip:FORMAT"}})
    path = os.pathsep.join([found["PYTHONPATH"], str(Path(__file__).parents[1])])
    return found | {"PYTHONPATH": path, "EFQ_CACHE": str(folder / "cache")}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(command: click.Command, *arguments: object) -> Result:
    """In this process, which does not have the package."""
    return CliRunner().invoke(command, [*map(str, arguments), "--threads", "1"])


def run_with_package(module: str, environment: dict[str, str], *arguments: object) -> str:
    """The standard output of a command in a process of its own."""
    code = f"from efq.toolchain.{module} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--threads", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_evaluation_of_an_archive_is_that_of_the_folder(inputs: Path, environment: dict[str, str]) -> None:
    options = ("--list", inputs / "list.txt", "--pairs", inputs / "pairs.txt", "--bootstrap", 5, "--json")
    archive = ("--faces", inputs / "faces.zip", *options)
    found = json.loads(run_with_package("evaluate_command", environment, inputs / "artifact", *archive))
    expected = json.loads(run(evaluate_command.main, inputs / "artifact", "--faces", inputs / "faces", *options).stdout)
    assert found == expected | {"faces": str(inputs / "faces.zip")}
    assert (found["images"], found["all_pairs"]["images"], found["pairs"][0]["pairs"]) == (24, 12, 44)


def test_a_student_of_an_archive_is_that_of_the_folder(
    inputs: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    options = (inputs / "teacher.pt", "--recipe", inputs / "tiny.toml", "--backbone", TEACHER, "--steps", 1)
    of_archive, of_folder = tmp_path / "archive.pt", tmp_path / "folder.pt"
    run_with_package("distill_command", environment, *options, "--faces", inputs / "faces.zip", "-o", of_archive)
    result = run(distill_command.main, *options, "--faces", inputs / "faces", "-o", of_folder)
    assert result.exit_code == 0, result.output
    found, expected = load_student(of_archive), load_student(of_folder)
    assert found.training_hashes == expected.training_hashes
    assert dict(found.thresholds) == dict(expected.thresholds)
    tensors = expected.network.state_dict()
    assert all(torch.equal(value, tensors[name]) for name, value in found.network.state_dict().items())


def test_without_the_package_the_archive_is_refused(inputs: Path) -> None:
    result = run(evaluate_command.main, inputs / "artifact", "--faces", inputs / "faces.zip")
    assert (result.exit_code, result.stdout) == (1, "")
    names(result.stderr, inputs / "faces.zip")
