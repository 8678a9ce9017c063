"""What tests/avx2/run.sh stands on: a program whose CPUID instructions are replaced hears of nothing above AVX2."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "avx2"

# Leaf 7: EBX has AVX2 (bit 5) and AVX-512F (16), ECX has AVX512-VNNI (11), of subleaf 1 EAX has AVX-VNNI (4).
PROGRAM = """
#include <cpuid.h>
#include <stdio.h>
int main(void)
{
    unsigned a, b, c, d, e;
    __cpuid_count(7, 0, a, b, c, d);
    __cpuid_count(7, 1, e, d, a, d);
    printf("%u %u %u %u", b >> 5 & 1, b >> 16 & 1, c >> 11 & 1, e >> 4 & 1);
    return 0;
}
"""

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="CPUID is an x86 instruction"),
    pytest.mark.skipif(
        shutil.which("gcc") is None or shutil.which("objdump") is None, reason="gcc or objdump is not installed"
    ),
]


def compile_c(source: Path, output: Path, *options: str) -> Path:
    subprocess.run(["gcc", "-O2", *options, "-o", output, source], check=True)
    return output


def run(program: Path, **environment: str) -> list[int]:
    result = subprocess.run([program], env=os.environ | environment, capture_output=True, text=True, check=True)
    return [int(bit) for bit in result.stdout.split()]


def test_nothing_newer_than_avx2(tmp_path: Path) -> None:
    (tmp_path / "program.c").write_text(PROGRAM)
    program = compile_c(tmp_path / "program.c", tmp_path / "program")
    preloaded = compile_c(TOOLS / "cpuid.c", tmp_path / "cpuid.so", "-shared", "-fPIC")
    has_avx2, *_ = run(program)
    subprocess.run([sys.executable, TOOLS / "replace_cpuid.py", program], capture_output=True, check=True)
    assert run(program, LD_PRELOAD=str(preloaded)) == [has_avx2, 0, 0, 0]
