"""EFQ's own kernels on ARM, in an emulator: which of them a CPU gets, and the bytes that each gives."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("g++", "aarch64-linux-gnu-g++", "qemu-aarch64")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
SETS = {
    "max": "neon-i8mm neon-dotprod plain",
    "cortex-a76": "neon-dotprod plain",
    "cortex-a72": "plain",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.system() != "Linux", reason="qemu-user emulates Linux's programs"),
    pytest.mark.skipif(
        bool(MISSING), reason=f"{', '.join(MISSING)}: apt-get install g++ g++-aarch64-linux-gnu qemu-user"
    ),
]


def run(*command: str) -> str:
    """What the command printed, with ARM's kernels in place of this machine's."""
    script = ROOT / "tests" / "native" / "aarch64.sh"
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([script, *command], env=variables, capture_output=True, text=True)
    assert not done.returncode, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_cpu_gets_the_fastest_that_it_has() -> None:
    names = "from efq.runtime.native.library import instruction_sets; print(*instruction_sets())"
    printed = run("sh", "-c", "; ".join(f"QEMU_CPU={cpu} python -c '{names}'" for cpu in SETS))
    assert printed.splitlines() == list(SETS.values())


def test_every_kernel_gives_the_bytes_of_its_definition() -> None:
    run("python", "-m", "pytest", "-q", "tests/unit/test_native_kernels.py")
