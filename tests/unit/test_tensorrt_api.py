"""TensorRT's API as EFQ uses it, held against what 10.3, 10.16, 11.4 and RTX 1.7 really have."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from tensorrt_inventory import FOLDER, interface_names, inventory

from efq.runtime.tensorrt import interfaces
from efq.runtime.tensorrt.api import OPTIONAL, TensorRT

ROOT = Path(__file__).parents[2]
MODULE_NAMES = ("module", "trt", "tensorrt")  # what TensorRT's module is called in the files below
FILES = sorted((ROOT / "runtime" / "tensorrt").rglob("*.py"))
VERSIONS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def members(protocol: type) -> set[str]:
    names = set(vars(protocol)) | set(vars(protocol).get("__annotations__", ()))
    return {name for name in names if not name.startswith("_")}


TABLE = {name: members(getattr(interfaces, name)) for name in interface_names()}
MODULE = members(TensorRT)


def missing_names(found: dict[str, list[str]]) -> set[str]:
    """The names of the table, as Class or Class.member, that an inventory does not have."""
    missing = {name for name in TABLE if name not in found}
    for name in TABLE.keys() - missing:
        missing |= {f"{name}.{member}" for member in TABLE[name] - set(found[name])}
    return missing


def unlisted_attributes(source: str) -> list[str]:
    """Attributes taken from TensorRT's module, or from one of its enums, that the table does not list."""
    wrong = []
    aliases: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_of_module(node.value):
            aliases[node.targets[0].id] = node.value.attr  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        owner = node.value
        if _is_of_module(node) and node.attr not in MODULE:
            wrong.append(node.attr)
        elif _is_of_module(owner) or (isinstance(owner, ast.Name) and owner.id in aliases):
            kind = owner.attr if isinstance(owner, ast.Attribute) else aliases[owner.id]  # type: ignore[attr-defined]
            if kind in TABLE and node.attr not in TABLE[kind] | {"__init__"}:
                wrong.append(f"{kind}.{node.attr}")
    return wrong


def _is_of_module(node: ast.AST) -> bool:
    """Whether the expression is an attribute of `module`, `trt`, `self._module` or `self.module`."""
    if not isinstance(node, ast.Attribute):
        return False
    owner = node.value
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return name.lstrip("_") in MODULE_NAMES


def test_the_versions_are_those_that_efq_promises() -> None:
    assert [".".join(name.split(".")[:2]) for name in VERSIONS] == [
        *("tensorrt-10.16", "tensorrt-10.3", "tensorrt-11.4", "tensorrt_rtx-1.7")
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_is_not_optional_exists(version: str) -> None:
    assert missing_names(VERSIONS[version]["names"]) <= OPTIONAL


def test_what_is_optional_is_somewhere_and_not_everywhere() -> None:
    missing = [missing_names(found["names"]) for found in VERSIONS.values()]
    assert set().union(*missing) == OPTIONAL
    assert not set.intersection(*missing)


def test_the_classes_of_the_module_are_those_of_the_table() -> None:
    assert {name for name in MODULE if name not in TABLE} == set()


def test_the_inventory_of_the_installed_tensorrt_rtx_is_the_recorded_one() -> None:
    installed: Any = pytest.importorskip("tensorrt_rtx")
    recorded = VERSIONS.get(f"tensorrt_rtx-{installed.__version__}")
    if recorded is None:
        pytest.skip(f"tensorrt_rtx {installed.__version__} is not recorded; missing names are found all the same below")
    assert inventory(installed) == recorded


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_listed_names_are_taken_from_the_module(path: Path) -> None:
    assert unlisted_attributes(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("module.Runtime(logger)", []),
        ("module.IInt8Calibrator", ["IInt8Calibrator"]),
        ("self._module.get_nothing()", ["get_nothing"]),
        ("flags = trt.BuilderFlag\nflags.FP16", ["BuilderFlag.FP16"]),
        ("config.set_flag(module.BuilderFlag.INT8)", ["BuilderFlag.INT8"]),
        ("config.set_flag(module.BuilderFlag.VERSION_COMPATIBLE)", []),
        (
            "1 << int(self.module.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)",
            ["NetworkDefinitionCreationFlag.EXPLICIT_BATCH"],
        ),
    ],
)
def test_the_check_of_the_sources_finds_what_is_not_listed(source: str, expected: list[str]) -> None:
    assert unlisted_attributes(source) == expected


def test_the_check_of_the_versions_finds_a_name_that_was_removed() -> None:
    found = VERSIONS["tensorrt-11.4.0.106"]["names"]
    removed = {name: [member for member in names if member != "set_shape"] for name, names in found.items()}
    del removed["OnnxParser"]
    assert missing_names(removed) - OPTIONAL == {"IOptimizationProfile.set_shape", "OnnxParser"}


def test_the_check_of_the_sources_has_something_to_look_at() -> None:
    used = [
        node.attr
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _is_of_module(node) and isinstance(node, ast.Attribute)
    ]
    assert {"Builder", "Runtime", "ILogger", "DataType", "TensorIOMode", "CudaGraphStrategy"} <= set(used)
