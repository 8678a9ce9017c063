"""Serving tells nobody: the runtimes' telemetry is off unless it is asked for, and nothing is written but the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from efq.runtime.backends.telemetry import switch_off_onnxruntime

SERVE = """
import os, sys, time
import numpy as np
from efq.runtime import Embedder
for backend in ("onnxruntime", "openvino"):
    with Embedder.open(sys.argv[1], threads=2, backend=backend) as embedder:
        embedder.embed(np.arange(9 * 112 * 112 * 3).astype(np.uint8).reshape(9, 112, 112, 3))
import openvino.tools.ovc.telemetry_utils as utils
print(os.environ.get("ORT_DISABLE_TELEMETRY"), utils.tm.__name__, "openvino_telemetry" in sys.modules)
time.sleep(0.5)
"""


def serve(artifact: Path, home: Path, **environment: str) -> list[str]:
    """What a process says of both runtimes' telemetry after it served."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "EFQ_TELEMETRY")}
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")} | environment
    command = [sys.executable, "-c", SERVE, str(artifact)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_off_by_default_and_nothing_is_left_at_home(tiny_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    home, cache = tmp_path / "home", tmp_path / "efq"
    home.mkdir()
    switch, sender, loaded = serve(tiny_artifact, home, EFQ_CACHE=str(cache))
    assert (switch, loaded) == ("1", "False")
    assert sender == "openvino.tools.ovc.telemetry_stub"
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0"), ({"EFQ_TELEMETRY": "1"}, None), ({"EFQ_TELEMETRY": "0"}, "1")],
)
def test_what_the_user_chose_stands(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without importing anything: a test tells nobody either."""
    for name in ("ORT_DISABLE_TELEMETRY", "EFQ_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    switch_off_onnxruntime()
    assert os.environ.get("ORT_DISABLE_TELEMETRY") == expected
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
