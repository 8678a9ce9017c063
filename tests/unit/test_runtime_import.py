"""What a service pays for `import efq.runtime`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

IMPORT = """
import sys, time
start = time.perf_counter()
import {modules}
seconds = time.perf_counter() - start
import json
print(json.dumps({{"seconds": seconds, "modules": [name for name in sys.modules if "." not in name]}}))
"""
GPU = ", ".join(f"efq.runtime.{name}" for name in ("tensorrt.open", "cuda.cuda_python", "cuda.pycuda"))


def imported(modules: str) -> dict[str, Any]:
    """Seconds that importing takes in a new process, and the packages it has then."""
    found: dict[str, Any] = json.loads(subprocess.check_output([sys.executable, "-c", IMPORT.format(modules=modules)]))
    return found


def test_import_is_fast_and_brings_no_framework() -> None:
    runs = [imported("efq.runtime") for _ in range(3)]
    assert not {"torch", "onnxruntime", "onnx", "openvino", "cv2", "click", "rich"} & set(runs[0]["modules"])
    assert min(run["seconds"] for run in runs) < 0.5


def test_the_gpu_backends_bring_nothing_before_a_gpu_is_opened() -> None:
    packages = {"torch", "cuda", "pycuda", "tensorrt", "tensorrt_rtx", "onnxruntime"}
    assert not packages & set(imported(GPU)["modules"])
