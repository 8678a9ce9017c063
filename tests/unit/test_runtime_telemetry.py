"""Serving tells nobody: the runtimes' telemetry is off unless it is asked for, and nothing is written but the cache."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from efq.runtime import Embedder
from efq.runtime.backends.telemetry import switch_off_onnxruntime

SCRIPTS = Path(__file__).parents[1] / "scripts"
SERVE = """
import os, sys, time
import numpy as np
from efq.runtime import Embedder
for backend in ("onnxruntime", "openvino", "auto"):
    with Embedder.open(sys.argv[1], threads=2, backend=backend) as embedder:
        embedder.embed(np.arange(9 * 112 * 112 * 3).astype(np.uint8).reshape(9, 112, 112, 3))
import openvino.tools.ovc.telemetry_utils as utils
print(os.environ.get("ORT_DISABLE_TELEMETRY"), utils.tm.__name__, "openvino_telemetry" in sys.modules)
time.sleep(0.5)
"""


def serve(artifact: Path, home: Path, **environment: str) -> list[str]:
    """What a process says of both runtimes' telemetry after it served."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "EFQ_TELEMETRY")}
    places = {"HOME": home, "TMPDIR": home, "XDG_CACHE_HOME": home / "cache", "XDG_CONFIG_HOME": home / "config"}
    environment = kept | {name: str(place) for name, place in places.items()} | environment
    command = [sys.executable, "-c", SERVE, str(artifact)]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True).stdout.split()


def test_off_by_default_and_nothing_is_left_but_in_the_cache(tiny_artifact: Path, tmp_path: Path) -> None:
    """Neither at home, nor among temporary files, nor in the current folder."""
    pytest.importorskip("openvino")
    home, cache = tmp_path / "home", tmp_path / "efq"
    home.mkdir()
    switch, sender, loaded = serve(tiny_artifact, home, EFQ_CACHE=str(cache))
    assert (switch, loaded) == ("1", "False")
    assert sender == "openvino.tools.ovc.telemetry_stub"
    assert list(home.rglob("*")) == []
    assert [path.name for path in cache.iterdir()] == ["cpu-backend"]


def confined(*command: str) -> int:
    """The exit code of Python where nothing may be written, and no socket opened (confined.py)."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "EFQ_TELEMETRY")}
    environment = kept | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *command], env=environment, cwd=SCRIPTS, check=False).returncode


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "auto"])
def test_serving_opens_no_socket_and_writes_nothing(tiny_artifact: Path, backend: str) -> None:
    """Native libraries and their threads included; "auto" once its choice is remembered, which alone is written."""
    if backend == "auto":
        Embedder.open(tiny_artifact, threads=2).close()
    else:
        pytest.importorskip(backend)
    code = confined("confined.py", str(tiny_artifact), backend)
    if code == 3:
        pytest.skip("the kernel takes no filter of system calls")
    assert code == 0


@pytest.mark.parametrize(
    "forbidden", ["socket.socket()", "socket.socketpair()", "open('/dev/null', 'w')", "os.mkdir('x')", "os.unlink('x')"]
)
def test_what_is_forbidden_ends_a_process(forbidden: str) -> None:
    code = confined("-c", f"import confined, os, socket, sys; confined.confine() or sys.exit(3); {forbidden}")
    if code == 3:
        pytest.skip("the kernel takes no filter of system calls")
    assert code == -signal.SIGSYS


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
