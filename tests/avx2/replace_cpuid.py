"""Replace every CPUID instruction of a shared library by INT3 and NOP, which cpuid.c answers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CPUID, TRAP = b"\x0f\xa2", b"\xcc\x90"


def main(library: Path) -> None:
    """Rewrite `library` in place; a disassembler says which bytes are instructions."""
    listing = subprocess.run(["objdump", "-d", "-w", library], capture_output=True, text=True, check=True).stdout
    headers = subprocess.run(["objdump", "-h", "-w", library], capture_output=True, text=True, check=True).stdout
    text = re.search(r"\.text\s+\S+\s+(\S+)\s+\S+\s+(\S+)", headers)
    assert text is not None, f"{library} has no .text"
    shift = int(text[2], 16) - int(text[1], 16)
    content = bytearray(library.read_bytes())
    addresses = [int(match, 16) for match in re.findall(r"^\s*([0-9a-f]+):\s.*\bcpuid\b", listing, re.MULTILINE)]
    assert addresses, f"{library} has no CPUID instruction"
    for offset in (address + shift for address in addresses):
        assert content[offset : offset + 2] == CPUID, f"no CPUID at {offset:#x}"
        content[offset : offset + 2] = TRAP
    library.write_bytes(content)
    print(f"{library.name}: {len(addresses)} CPUID instructions replaced")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
