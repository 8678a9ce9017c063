"""Serve where nothing may be written or connected to: `python tests/scripts/confined.py ARTIFACT BACKEND`.

The kernel ends the process as soon as it opens a socket, or a file to write, or names, moves or removes one.
A filter of system calls (seccomp, https://docs.kernel.org/userspace-api/seccomp_filter.html) holds for native libraries
and their threads, too. Linux on x86-64 and ARM; exit code 3 where the kernel allows no filter, and -SIGSYS for what is
forbidden.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

# By machine: the architecture's number for audits, then system calls' numbers. All that could write to a place by its
# name begins with one of these (on x86-64 with the older form of openat, too).
_CALLS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {"socket": 41, "socketpair": 53, "rename": 82, "mkdir": 83, "creat": 85, "link": 86, "unlink": 87,
         "symlink": 88, "mkdirat": 258, "mknodat": 259, "unlinkat": 263, "renameat": 264, "linkat": 265,
         "symlinkat": 266, "renameat2": 316, "open": 2, "openat": 257, "openat2": 437},
    ),
    "aarch64": (
        0xC00000B7,
        {"socket": 198, "socketpair": 199, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37,
         "renameat": 38, "renameat2": 276, "openat": 56, "openat2": 437},
    ),
}  # fmt: skip
_FLAGS_AT = {"open": 24, "openat": 32}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_END, _ALLOW = 0x80000000, 0x7FFF0000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def confine() -> bool:
    """From now on, for good; whether the kernel allows it."""
    if platform.machine() not in _CALLS or sys.platform != "linux":
        return False
    instructions = _instructions(*_CALLS[platform.machine()])
    program = _Program(len(instructions), (_Instruction * len(instructions))(*instructions))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program)) == 0


def _instructions(architecture: int, calls: dict[str, int]) -> list[_Instruction]:
    """A jump counts the instructions that it leaves out."""
    found = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _END), (_LOAD, 0, 0, 0)]
    for name, number in calls.items():
        if name in _FLAGS_AT:
            found += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FLAGS_AT[name]), (_ANY_BIT, 0, 1, _WRITING)]
            found += [(_RETURN, 0, 0, _END), (_RETURN, 0, 0, _ALLOW)]
        else:
            found += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _END)]
    return [_Instruction(*each) for each in [*found, (_RETURN, 0, 0, _ALLOW)]]


def main(artifact: str, backend: str) -> None:
    """Import, open, embed, close."""
    if not confine():
        sys.exit(3)
    import numpy as np

    from efq.runtime import Embedder

    faces = np.random.default_rng(0).integers(0, 256, (9, 112, 112, 3), dtype=np.uint8)
    for _ in range(2):
        with Embedder.open(artifact, threads=2, backend=backend) as embedder:
            embedder.embed(faces)
            embedder.embed(faces[:1])
    print("served")


if __name__ == "__main__":
    main(*sys.argv[1:])
