"""How much memory this process may still take."""

from __future__ import annotations

import re
from pathlib import Path

_MEMINFO, _GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available_memory(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int | None:
    """Bytes that Linux can give without swapping, within the container's limit; None where nothing says so."""
    machine = re.search(r"^MemAvailable:\s+([0-9]+) kB", _read(meminfo), re.MULTILINE)
    limit, used = (_read(group / name).strip() for name in ("memory.max", "memory.current"))
    found = [] if machine is None else [1024 * int(machine[1])]
    if limit.isdecimal() and used.isdecimal():
        found.append(max(int(limit) - int(used), 0))
    return min(found, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
