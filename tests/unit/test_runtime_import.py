"""What a service pays for `import efq.runtime`."""

from __future__ import annotations

import json
import subprocess
import sys

IMPORT = """
import sys, time
start = time.perf_counter()
import efq.runtime
seconds = time.perf_counter() - start
import json
print(json.dumps({"seconds": seconds, "modules": [name for name in sys.modules if "." not in name]}))
"""


def test_import_is_fast_and_brings_no_framework() -> None:
    runs = [json.loads(subprocess.check_output([sys.executable, "-c", IMPORT])) for _ in range(3)]
    assert not {"torch", "onnxruntime", "onnx", "cv2", "click", "rich"} & set(runs[0]["modules"])
    assert min(run["seconds"] for run in runs) < 0.5
