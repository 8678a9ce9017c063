"""How many products of bytes an x86 core multiplies and adds in a cycle, by the model that /proc/cpuinfo names.

A core with two 512-bit units does 128 (VPDPBUSD, four products in each 32-bit lane), one whose units are 256 bits wide
or that has a single 512-bit one does 64. EPYC of families 25 and 26 were measured (docs/performance.md, the floors of
docs/benchmarks.md), and one of Intel's with AMX; the others are listed by the number of their units, and were not.
"""

from __future__ import annotations

from collections.abc import Set

_INTEL, _AMD = "GenuineIntel", "AuthenticAMD"

# Cascade Lake and Cooper Lake, Ice Lake-SP and -D, Sapphire Rapids, Emerald Rapids, Granite Rapids and its -D.
_INTEL_TWO_UNITS = frozenset({85, 106, 108, 143, 207, 173, 174})
# Ice Lake, Tiger Lake and Rocket Lake of clients; with AVX-VNNI instead Alder Lake and Raptor Lake.
_INTEL_ONE_UNIT = frozenset({125, 126, 140, 141, 167})
_INTEL_AVX_VNNI = frozenset({151, 154, 183, 186, 191})

_ZEN4_FAMILY, _ZEN5_FAMILY = 25, 26
_ZEN5_WIDE, _ZEN5_NARROW = (range(0x20), range(0x40, 0x50)), range(0x20, 0x30)


def pairs_per_cycle(vendor: str, family: int, model: int, isa: Set[str]) -> int | None:
    """Pairs of bytes one core multiplies and adds in a cycle by VNNI; None where it has none or is not known."""
    if "avx512_vnni" not in isa:
        known = (vendor, family) == (_INTEL, 6) and model in _INTEL_AVX_VNNI
        return 64 if known and "avx_vnni" in isa else None
    if (vendor, family) == (_AMD, _ZEN4_FAMILY):
        return 64
    if (vendor, family) == (_AMD, _ZEN5_FAMILY):
        if any(model in models for models in _ZEN5_WIDE):
            return 128
        return 64 if model in _ZEN5_NARROW else None
    if (vendor, family) == (_INTEL, 6):
        # Those with AMX have two units; a virtual machine may name the model of another.
        return 128 if model in _INTEL_TWO_UNITS or "amx_int8" in isa else 64 if model in _INTEL_ONE_UNIT else None
    return None
