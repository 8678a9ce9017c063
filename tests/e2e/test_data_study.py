"""The data study from one end to the other on a tiny network, and that finished runs are not made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from messages import names
from networks import TEACHER, make_teacher, write_faces

from efq.benchmarks.studies.data_study import main, variants


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    make_teacher(root / "teacher.pt")
    write_faces(root / "faces", people=9)
    paths = sorted(path.relative_to(root / "faces").as_posix() for path in (root / "faces").rglob("*.*"))
    people = sorted({path.split("/")[0] for path in paths})
    for name, chosen in (("train", people[:5]), ("dev", people[5:])):
        (root / f"{name}.txt").write_text("".join(f"{path}\n" for path in paths if path.split("/")[0] in chosen))
    (root / "tiny.toml").write_text(
        'activation = "relu"\nidentities_per_batch = 2\nimages_per_identity = 2\nlearning_rate = 1e-3\n'
    )
    return root


def run(inputs: Path, output: Path, *options: object) -> Result:
    arguments = [
        *("--teacher", inputs / "teacher.pt", "--backbone", TEACHER, "--faces", inputs / "faces", "--threads", 1),
        *("--list", inputs / "train.txt", "--dev-list", inputs / "dev.txt", "--recipe", inputs / "tiny.toml"),
        *("--steps", 2, "--sizes", 6, "--other", 24, "-o", output, *options),
    ]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_every_set_has_its_row(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "study"
    output.mkdir()
    result = run(inputs, output)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads((output / "results.json").read_text())}
    assert list(rows) == ["6", "all", "all, no labels", "24 drawn", "24 noise"]
    assert (rows["6"]["images"], rows["all"]["images"], rows["24 noise"]["identities"]) == (6, 15, 24)
    assert rows["24 drawn"]["identities"] == 2
    assert all(row["steps"] == 2 and 0 <= row["tar"]["0.001"] <= 1 for row in rows.values())
    assert (output / "data_study.png").stat().st_size > 10_000
    assert "| all, no labels | 15 | 5 |" in result.stdout
    written = (output / "all.json").stat().st_mtime_ns
    (output / "6.json").unlink()
    again = run(inputs, output)
    assert again.exit_code == 0, again.output
    assert (output / "all.json").stat().st_mtime_ns == written
    assert json.loads((output / "6.json").read_text())["tar"] == rows["6"]["tar"]


def test_runs_of_other_options_are_refused(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "study"
    output.mkdir()
    assert run(inputs, output).exit_code == 0
    other = run(inputs, output, "--seed", 1)
    assert other.exit_code == 2
    names(other.stderr, output / "6.json", "seed")
    (output / "6.json").unlink()
    assert run(inputs, output, "--seed", 1).exit_code == 2
    assert not (output / "6.json").exists()  # refused before anything is made
    (output / "6.json").write_text("{}")
    damaged = run(inputs, output)
    assert damaged.exit_code == 1
    names(damaged.stderr, output / "6.json")


def test_sizes_are_numbers(inputs: Path, tmp_path: Path) -> None:
    result = run(inputs, tmp_path, "--sizes", "500;1000")
    assert result.exit_code == 2
    names(result.stderr, "--sizes", "500;1000")


def test_the_person_is_asked_for(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    result = run(inputs, tmp_path, "--identity-level", 3)
    assert result.exit_code == 1, result.output
    names(result.stderr, inputs / "faces", "level 3", "15")


def test_the_sets() -> None:
    found = variants((500, 1000), 700)
    assert [variant.name for variant in found] == ["500", "1,000", "all", "all, no labels", "700 drawn", "700 noise"]
    assert [variant.labels for variant in found] == [True, True, True, False, True, False]
