"""What serves faces tells nobody: the runtimes' telemetry is off unless `EFQ_TELEMETRY=1`.

ONNX Runtime reads its own variable when it is loaded; https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
describes what it would send.
"""

from __future__ import annotations

import os

CHOICE = "EFQ_TELEMETRY"
_ONNXRUNTIME_SWITCH = "ORT_DISABLE_TELEMETRY"


def switch_off_onnxruntime() -> None:
    """Before ONNX Runtime is imported. A switch that the user set is left as it is."""
    if os.environ.get(CHOICE) != "1":
        os.environ.setdefault(_ONNXRUNTIME_SWITCH, "1")
