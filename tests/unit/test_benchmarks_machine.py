"""The machine description, from processor listings written down by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from efq.benchmarks.machine import describe_machine

X86 = """processor\t: 0
model name\t: Example Processor 9000
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: Another
flags\t\t: fpu amx_int8
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm
"""


@pytest.mark.parametrize(
    ("listing", "isa", "vnni"),
    [(X86, ("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), True), (ARM, ("dotprod", "i8mm"), False)],
)
def test_isa_comes_from_the_first_processor(tmp_path: Path, listing: str, isa: tuple[str, ...], vnni: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(listing)
    machine = describe_machine(path)
    assert machine.isa == isa
    assert machine.has_vnni is vnni


def test_unknown_system_is_said_to_be_unknown(tmp_path: Path) -> None:
    machine = describe_machine(tmp_path / "none")
    assert machine.isa is None
    assert machine.has_vnni is None


def test_this_machine_can_be_described_as_json() -> None:
    machine = describe_machine()
    assert machine.cores >= 1
    assert {"numpy", "onnxruntime"} <= set(machine.packages)
    assert json.loads(json.dumps(machine.to_dict()))["cpu"] == machine.cpu
