"""The pages say what is there: links and names resolve, commands have their options, examples run."""

from __future__ import annotations

import ast
import doctest
import pkgutil
import re
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from documents import PAGES, ROOT, blocks, commands, links, named_modules, named_paths

from efq.benchmarks.demo.teacher import BACKBONE, demo_network
from efq.export import export_student, find_target
from efq.toolchain import calibrate_teacher, open_teacher

DECISIONS = ROOT / "docs" / "decisions"
RECORDS = ROOT / "docs" / "lab"  # of their day: what they name may have moved since
CURRENT = [page for page in PAGES if not page.is_relative_to(RECORDS)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def is_there(name: str) -> bool:
    """Whether the dotted name is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_named_files_are_there(page: Path) -> None:
    assert [path for path in named_paths(page) if not any(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_named_modules_are_there(page: Path) -> None:
    assert [name for name in named_modules(page) if not is_there(name)] == []


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_imports_of_the_examples_work(page: Path) -> None:
    named = []
    for block in blocks(page, "python"):
        source = "\n".join(example.source for example in doctest.DocTestParser().get_examples(block.text)) or block.text
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("efq."):
                named += [f"{node.module}.{alias.name}" for alias in node.names]
    assert [name for name in named if not is_there(name)] == []


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_commands_have_their_options(page: Path) -> None:
    unknown = []
    rules = set(" ".join(re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)).split())
    for words in commands(page):
        if words[0] == "make":
            unknown += [word for word in words[1:] if word not in rules]
        elif words[:2] == ["python", "-m"]:
            unknown += [word for word in words[2:3] if not is_there(word)]
        elif words[0] in PROJECT["scripts"]:
            [file] = ROOT.glob(f"[!.]*/**/{words[0].removeprefix('efq-')}_command.py")
            command = pkgutil.resolve_name(f"efq.{'.'.join(file.relative_to(ROOT).with_suffix('').parts)}:main")
            known = {"--help"} | {
                option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
            }
            unknown += [f"{words[0]} {word}" for word in words if re.match(r"--?[a-z]", word) and word not in known]
    assert unknown == []


def test_every_decision_is_in_the_index_with_its_status() -> None:
    rows = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\) \| (.+) \| (.+) \|$", (DECISIONS / "README.md").read_text(), re.MULTILINE
    )
    assert [name for _, name, _, _ in rows] == sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    for number, name, title, status in rows:
        page = (DECISIONS / name).read_text(encoding="utf-8")
        assert name.startswith(number)
        assert page.startswith(f"# {int(number)}. {title}\n"), name
        stated = re.search(r"^Status: (.+)\.$", page, re.MULTILINE)
        assert (stated[1] if stated else "holds") == status, name
        assert all(any(DECISIONS.glob(f"{other}-*.md")) for other in re.findall(r"\b\d{4}\b", status)), name


def test_no_page_says_where_its_data_came_from() -> None:
    assert [name_of(page) for page in PAGES if re.search(r"\bkit('s)?\b", page.read_text(encoding="utf-8"))] == []


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that docs/api.md speaks of: faces, unseen ones, a float checkpoint and an artifact of it."""
    generator = np.random.default_rng(0)
    for folder, identities in (("faces", 6), ("unseen", 4)):
        for identity in range(identities):
            (tmp_path / folder / f"person{identity}").mkdir(parents=True)
            for view in range(4):
                coarse = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
                image = cv2.resize(coarse, (112, 112), interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(tmp_path / folder / f"person{identity}" / f"{view}.png"), image)
    torch.manual_seed(0)
    torch.save(demo_network().state_dict(), tmp_path / "teacher.pt")
    student, _ = calibrate_teacher(open_teacher(tmp_path / "teacher.pt", BACKBONE), tmp_path / "faces")
    export_student(student, find_target("ort-cpu"), tmp_path / "artifact", bits=8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_the_examples_of_the_api_run() -> None:
    """All blocks of the page, one after the other, as in one session."""
    page = ROOT / "docs" / "api.md"
    fences = re.compile(r"^```.*$", re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(
        fences.sub("", page.read_text(encoding="utf-8")), {}, page.name, str(page), 0
    )
    output: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=output.append)
    assert results.attempted > 30
    assert results.failed == 0, "".join(output)
