"""The plan of the house (docs/architecture.md): imports, the size of folders, where a target is named, who prints."""

from __future__ import annotations

import ast
import collections
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from efq.runtime.targets import targets

ROOT = Path(__file__).parents[2]
LAYERS = ("runtime", "toolchain", "export", "benchmarks")  # each may import those before it
MOST_FILES = 15
PRINTS = ("print(", "click.echo(", "sys.stdout.write", "sys.stderr.write", "Console(")
HEAVY = {"torch", "onnx", "onnx_ir", "openvino", "nncf", "matplotlib"}

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
assert "torch" not in sys.modules, sorted(name for name in names)
"""

# Where a target's own name is at home: the table, its runtime and its export side.
OWN_ROOMS = (
    *("runtime/targets.py", "runtime/litert/", "runtime/tensorrt/", "runtime/backends/openvino.py"),
    *sorted(
        {row.exporter.rpartition(".")[0].removeprefix("efq.").replace(".", "/") + "/" for row in targets().values()}
    ),
)
# Elsewhere a name may only stand where a user would type it: the default of a command, the demo's and a study's export.
TYPED = {
    "export/export_command.py",
    "benchmarks/demo/chain.py",
    "benchmarks/studies/data_study.py",
    "benchmarks/studies/networks_study.py",
}
AMBIGUOUS = {"openvino"}  # also a package and a backend, whose names stand in other rooms; it may not be compared


@functools.cache
def sources() -> dict[str, Path]:
    """Every module's file, by its name."""
    files = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
    return {module_name(path): path for path in files}


def module_name(path: Path) -> str:
    return "efq." + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports() -> dict[str, set[str]]:
    """For each module those of EFQ it imports, wherever the statement stands but under TYPE_CHECKING."""
    return {name: set(imported(name, path)) for name, path in sources().items()}


def imported(name: str, path: Path) -> Iterator[str]:
    for node in walk_run_time(tree_of(path)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            # Names of a package that are modules are those modules; other names are the package's own.
            found = [member if member in sources() else str(node.module) for member in members]
        else:
            continue
        yield from (module for module in found if module in sources() and module != name)


def walk_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from walk_run_time(node)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other, found by taking away what leads nowhere, from either side."""
    rest = {name: set(others) for name, others in graph.items()}
    while True:
        ends = {name for name, others in rest.items() if not others & set(rest) - {name}}
        starts = set(rest) - set().union(*rest.values()) if rest else set()
        if not ends | starts:
            return [sorted(rest)] if rest else []
        rest = {name: others - ends - starts for name, others in rest.items() if name not in ends | starts}


@pytest.mark.parametrize("layer", LAYERS)
def test_no_import_runs_up(layer: str) -> None:
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    upward = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if name.split(".")[1] == layer and other != "efq" and other.split(".")[1] not in allowed
    ]
    assert upward == []


def test_the_runtime_names_no_framework() -> None:
    """Not even in a function: a service installs none. What a target needs is imported by its name."""
    found = {
        f"{name} imports {root}"
        for name, path in sources().items()
        if name.startswith("efq.runtime")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for root in {str(getattr(node, "module", "")), *(alias.name for alias in node.names)}
        if root.split(".")[0] in HEAVY
    }
    assert found == set()


@pytest.mark.parametrize("package", ["efq.toolchain.data", "efq.toolchain.evaluation"])
def test_numpy_only(package: str) -> None:
    """Faces are read and figures computed without torch: the package loads whole in a process without it."""
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


def test_no_circle_of_files() -> None:
    assert circles(imports()) == []


def test_no_folder_grows_beyond_a_page() -> None:
    sizes = collections.Counter(path.parent.relative_to(ROOT) for path in sources().values())
    assert {folder.as_posix(): size for folder, size in sizes.items() if size > MOST_FILES} == {}


def compared_constants(tree: ast.AST) -> Iterator[ast.Constant]:
    """Constants that something is compared with or looked up by: ==, in, match, keys of a table, subscripts."""
    for node in ast.walk(tree):
        places: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            places = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            places = [node.value]
        elif isinstance(node, ast.Dict):
            places = list(node.keys)
        elif isinstance(node, ast.Subscript):
            places = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            places = list(node.args[:1])
        for place in places:
            elements = place.elts if isinstance(place, ast.Tuple | ast.List | ast.Set) else [place]
            yield from (element for element in elements if isinstance(element, ast.Constant))


def named_constants(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every text but docstrings that is a target's name and nothing else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in targets():
            yield node


def outside_own_rooms() -> dict[str, Path]:
    files = {path.relative_to(ROOT).as_posix(): path for path in sources().values()}
    return {name: path for name, path in files.items() if not name.startswith(OWN_ROOMS)}


def test_a_target_is_compared_in_its_own_rooms_only() -> None:
    found = [
        f"{name}:{constant.lineno} {constant.value!r}"
        for name, path in outside_own_rooms().items()
        for constant in compared_constants(tree_of(path))
        if constant.value in targets()
    ]
    assert found == []


def test_a_target_is_named_in_its_own_rooms_only() -> None:
    found = {
        f"{name}:{constant.lineno} {constant.value!r}"
        for name, path in outside_own_rooms().items()
        if name not in TYPED
        for constant in named_constants(tree_of(path))
        if constant.value not in AMBIGUOUS
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "x == 'openvino'",
        "x in ('a', 'openvino')",
        "{'openvino': 1}[x]",
        "table.get('openvino')",
        "match x:\n    case 'openvino':\n        pass",
    ],
)
def test_comparisons_are_found(code: str) -> None:
    assert [constant.value for constant in compared_constants(ast.parse(code)) if constant.value in targets()]


@pytest.mark.parametrize("code", ["x.startswith('trt')", "x in frozenset({'trt'})", "y = 'trt' if x else 'cpu'"])
def test_names_are_found(code: str) -> None:
    assert list(named_constants(ast.parse(code)))


def test_only_what_is_run_prints() -> None:
    """Libraries log and take a progress object: the console, and streams, belong to commands and scripts."""
    libraries = [name for name in sources() if not name.endswith(("_command", "runtime.console", "commands.streams"))]
    libraries = [name for name in libraries if '__name__ == "__main__"' not in text_of(name)]
    found = {name for name in libraries if "efq.runtime.console" in imports()[name]}
    found |= {
        f"{name}:{node.lineno}"
        for name in libraries
        for node in ast.walk(tree_of(sources()[name]))
        if isinstance(node, ast.Call | ast.Attribute) and ast.unparse(node).startswith(PRINTS)
    }
    assert found == set()


def text_of(name: str) -> str:
    return sources()[name].read_text(encoding="utf-8")
