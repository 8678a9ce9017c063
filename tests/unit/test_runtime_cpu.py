"""The CPU description, from processor listings written down by hand."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from efq.runtime.machine.cpu import cpus_to_bind, describe_cpu
from efq.runtime.machine.dot_products import pairs_per_cycle

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: Example Processor 9000
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: Another
flags\t\t: fpu amx_int8
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm
"""
OLD = """processor\t: 0
flags\t\t: fpu sse2 avx2
"""


@pytest.mark.parametrize(
    ("listing", "isa", "dot_products"),
    [
        (X86, ("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), "VNNI"),
        (ARM, ("dotprod", "i8mm"), "dotprod"),
        (OLD, ("avx2",), ""),
    ],
)
def test_isa_comes_from_the_first_processor(
    tmp_path: Path, listing: str, isa: tuple[str, ...], dot_products: str
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(listing)
    cpu = describe_cpu(path)
    assert cpu.isa == isa
    assert cpu.dot_products == dot_products
    assert cpu.has_vnni is (dot_products == "VNNI")


def test_name_has_the_numbers_hosts_do_not_hide(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(X86)
    assert describe_cpu(path).name == "Example Processor 9000, family 26, model 2"
    path.write_text("model name\t: Example Processor 9000\n")
    assert describe_cpu(path).name == "Example Processor 9000"


def test_unknown_system_is_said_to_be_unknown(tmp_path: Path) -> None:
    cpu = describe_cpu(tmp_path / "none")
    assert cpu.isa is None
    assert cpu.has_vnni is None
    assert cpu.dot_products is None
    assert cpu.dot_product_class == "unknown"


@pytest.mark.parametrize(
    ("vendor", "family", "model", "isa", "expected"),
    [
        ("AuthenticAMD", 26, 2, {"avx2", "avx512_vnni", "avx_vnni"}, 128),
        ("AuthenticAMD", 26, 0x24, {"avx512_vnni", "avx_vnni"}, 64),
        ("AuthenticAMD", 26, 0x99, {"avx512_vnni", "avx_vnni"}, None),
        ("AuthenticAMD", 25, 17, {"avx2", "avx512_vnni"}, 64),
        ("AuthenticAMD", 25, 1, {"avx2"}, None),
        ("GenuineIntel", 6, 106, {"avx512_vnni"}, 128),
        ("GenuineIntel", 6, 143, {"avx512_vnni", "avx_vnni", "amx_int8"}, 128),
        ("GenuineIntel", 6, 140, {"avx512_vnni"}, 64),
        ("GenuineIntel", 6, 167, {"avx512_vnni", "avx_vnni", "amx_int8"}, 128),
        ("GenuineIntel", 6, 151, {"avx2", "avx_vnni"}, 64),
        ("GenuineIntel", 6, 175, {"avx2", "avx_vnni"}, None),
        ("GenuineIntel", 6, 1, {"avx512_vnni"}, None),
        ("HygonGenuine", 24, 1, {"avx2"}, None),
    ],
)
def test_pairs_of_bytes_a_cycle(vendor: str, family: int, model: int, isa: set[str], expected: int | None) -> None:
    assert pairs_per_cycle(vendor, family, model, isa) == expected


@pytest.mark.parametrize(
    ("listing", "architecture", "expected"),
    [
        (X86, "x86_64", "VNNI, 128 pairs of bytes a cycle"),
        (X86.replace("AuthenticAMD", "Unheard"), "x86_64", "VNNI"),
        (X86.replace("avx512_bf16", "amx_int8"), "x86_64", "VNNI, 128 pairs of bytes a cycle, AMX"),
        (OLD, "x86_64", "no VNNI"),
        (ARM, "aarch64", "dotprod"),
        (ARM.replace("asimddp", ""), "aarch64", "no dotprod"),
    ],
)
def test_the_class_of_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: str, architecture: str, expected: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    path = tmp_path / "cpuinfo"
    path.write_text(listing)
    assert describe_cpu(path).dot_product_class == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind threads")
@pytest.mark.parametrize(("threads", "bound"), [(1, ()), (2, ()), (3, (0, 4, 5)), (4, ())])
def test_threads_are_bound_only_to_all_of_the_process_s_cpus(
    monkeypatch: pytest.MonkeyPatch, threads: int, bound: tuple[int, ...]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 0, 4})
    assert cpus_to_bind(threads) == bound
