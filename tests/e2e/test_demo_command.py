"""efq-demo as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from html_pages import expect_one_file
from messages import names

from efq.benchmarks.demo_command import MARKER, PAGE, main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def without_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EFQ_FACES", raising=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One quick run, whose outcome the tests look at."""
    output = tmp_path_factory.mktemp("demo") / "output"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EFQ_FACES", raising=False)
        result = run("-o", str(output), "--quick", "--json")
    return output, result


@pytest.mark.slow
def test_quick_demo_ends_with_an_integer_artifact_near_its_teacher(demo: tuple[Path, Result]) -> None:
    output, result = demo
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["multiply_adds_in_integer_kernels"] == 1.0
    assert list(found["networks"]) == ["teacher", "student", "artifact"]
    assert found["networks"]["artifact"]["cosine_mean"] > 0.9
    steps = ["faces", "teacher", "distillation", "export", "speed and parity", "accuracy"]
    assert [step["name"] for step in found["steps"]] == steps
    assert (output / "artifact" / "parity.json").is_file()
    assert not (output / "cache").exists()


@pytest.mark.slow
def test_page_holds_everything_itself(demo: tuple[Path, Result]) -> None:
    output, _ = demo
    content = (output / PAGE).read_text(encoding="utf-8")
    assert content.count("data:image/") >= 1 + 4 + 6
    page = expect_one_file(content, pictures=True)
    assert all(picture.attributes["alt"] for picture in page.all("img"))
    found = [section.attributes["id"] for section in page.all("section")]
    assert found == ["faces", "training", "accuracy", "latency", "plots", "search", "steps"]


@pytest.mark.slow
def test_json_names_the_folder_and_nothing_else_is_on_stdout(demo: tuple[Path, Result]) -> None:
    output, result = demo
    assert json.loads(result.stdout)["output"] == str(output)


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("dear")
    result = run("-o", str(tmp_path / "letters"), "--quick")
    assert result.exit_code == 2
    names(result.stderr, tmp_path / "letters", "--force")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["letter.txt"]


def test_faces_without_their_files_are_named_and_the_older_demo_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / MARKER).write_text("")
    (output / PAGE).write_text("older")
    monkeypatch.setenv("EFQ_FACES", str(tmp_path / "nowhere"))
    result = run("-o", str(output), "--quick")
    assert result.exit_code == 1
    names(result.stderr, "EFQ_FACES", tmp_path / "nowhere")
    assert (output / PAGE).read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
