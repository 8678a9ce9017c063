"""Write what a version of TensorRT's Python API holds, of the classes that EFQ uses, to tests/data/tensorrt_api.

The bindings are a wheel of a megabyte and import without TensorRT itself, given a library with the nine symbols they
link to. TensorRT-RTX is taken as it is installed. Needs gcc and pip:

    pip download --no-deps -d wheels tensorrt-cu12-bindings==10.3.0
    pip download --no-deps -d wheels tensorrt-cu12-bindings==10.16.1.11
    pip download --no-deps -d wheels tensorrt-cu13-bindings==11.4.0.106
    python tests/tensorrt_inventory.py wheels/*.whl tensorrt_rtx
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from efq.runtime.tensorrt import interfaces

FOLDER = Path(__file__).parent / "data" / "tensorrt_api"

SYMBOLS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry"),
    *("getPluginRegistry", "getNvOnnxParserVersion", "initLibNvInferPlugins"),
)


def interface_names() -> list[str]:
    """The names of the classes that EFQ uses."""
    return sorted(
        name
        for name, value in vars(interfaces).items()
        if isinstance(value, type) and value.__module__ == interfaces.__name__
    )


def inventory(module: Any) -> dict[str, Any]:
    """Version and, for each class that EFQ uses and the module has, its public names."""
    present = [name for name in interface_names() if hasattr(module, name)]
    return {
        "version": module.__version__,
        "names": {name: [key for key in dir(getattr(module, name)) if not key.startswith("_")] for name in present},
    }


def read_wheel(wheel: Path) -> dict[str, Any]:
    """The inventory of the bindings in a wheel, read by another process, since a process can hold only one version."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        package = next(path.parent for path in Path(folder).glob("*/__init__.py"))
        major = wheel.name.split("-")[1].split(".")[0]
        _write_stand_ins(package, major)
        command = [sys.executable, __file__, "--print", package.name]
        output = subprocess.run(command, env={"PYTHONPATH": folder}, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def _write_stand_ins(package: Path, major: str) -> None:
    source = package / "stand_in.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        name = f"lib{library}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", package / name, source]
        subprocess.run(command, check=True)


def main(arguments: list[str]) -> None:
    if arguments[0] == "--print":
        print(json.dumps(inventory(importlib.import_module(arguments[1]))))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for argument in arguments:
        is_wheel = argument.endswith(".whl")
        found = read_wheel(Path(argument)) if is_wheel else inventory(importlib.import_module(argument))
        flavor = "tensorrt" if is_wheel else argument
        path = FOLDER / f"{flavor}-{found['version']}.json"
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
