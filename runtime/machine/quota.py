"""The CPU time a container may take, as the kernel's control groups say: https://docs.kernel.org/admin-guide/cgroup-v2.html."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_OWN_GROUPS, _MOUNTED = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def cpu_quota(own: Path = _OWN_GROUPS, mounted: Path = _MOUNTED) -> float | None:
    """CPUs' worth of time, the least of the process's group and those above it; None where there is no limit."""
    quotas = [quota for folder in _folders(own, mounted) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _folders(own: Path, mounted: Path) -> Iterator[Path]:
    """Of the group and those above it, in both versions; within a container the outermost is mounted as the root."""
    for line in _read(own).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = [""] if number == "0" else [controllers] if "cpu" in controllers.split(",") else []
        for name in names:
            group = PurePosixPath(path).relative_to("/")
            for above in (group, *group.parents):
                yield mounted / name / above


def _quota_of(folder: Path) -> float | None:
    limit, _, period = (_read(folder / "cpu.max") or "max").partition(" ")  # version 2: "max 100000", "150000 100000"
    if limit == "max":
        limit, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")  # version 1: -1 is none
    try:
        quota = float(limit) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
