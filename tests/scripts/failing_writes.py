"""A disk that fails: the kernel asks this process about each call of a child that writes, and some are answered no.

Seccomp's user notification (Linux 5.5 and newer, x86-64; no privileges needed) sees what every library does, in Python
or not, at the one place where a full disk is noticed. What is written through a mapping of memory is not seen.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER = 317, 1, 8
_NO_NEW_PRIVS, _ALLOW, _NOTIFY = 38, 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_X86_64 = 0xC000003E

# System calls of x86-64 that change a disk: number to name, and the arguments that are a descriptor or a path.
_BY_DESCRIPTOR = {1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev", 328: "pwritev2", 40: "sendfile"}
_BY_DESCRIPTOR |= {74: "fsync", 75: "fdatasync", 77: "ftruncate", 285: "fallocate", 91: "fchmod"}
_BY_PATH = {83: "mkdir", 84: "rmdir", 85: "creat", 87: "unlink", 90: "chmod", 2: "open"}
_BY_PATH |= {82: "rename", 86: "link", 88: "symlink"}
_AT = {258: "mkdirat", 263: "unlinkat", 268: "fchmodat", 257: "openat"}
_AT |= {264: "renameat", 265: "linkat", 316: "renameat2"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_ROOM = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "fsync", "fdatasync", "ftruncate"}
_ROOM |= {"fallocate", "mkdir", "mkdirat", "creat", "open", "openat", "link", "linkat", "symlink"}
_CHANGES = _ROOM | {"rename", "renameat", "renameat2", "rmdir", "unlink", "unlinkat", "chmod", "fchmod", "fchmodat"}
FAILURES = {
    errno.ENOSPC: _ROOM | {"rename", "renameat", "renameat2"},
    errno.EDQUOT: _ROOM,
    errno.EROFS: _CHANGES,
    errno.EIO: _CHANGES,
}


def supported() -> bool:
    """Whether this kernel and CPU are of those above."""
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    return sys.platform == "linux" and platform.machine() == "x86_64" and release >= (5, 5)


class Disk:
    """Calls of one child below `folder`, of which the one numbered `first` (from 1) fails with `code`.

    With `lasting` all that follow fail, too. `calls` holds what was seen and would be affected by `code`.
    """

    def __init__(self, folder: Path, *, code: int = errno.EIO, first: int = 0, lasting: bool = False) -> None:
        self.calls: list[str] = []
        self.failed: list[str] = []
        self._folder, self._code, self._first, self._lasting = os.fspath(folder), code, first, lasting
        self._ours, self._theirs = socket.socketpair()

    def watch(self) -> None:
        """In the child: have its calls looked at from now on."""
        self._ours.close()
        listener = _install((*_BY_DESCRIPTOR, *_BY_PATH, *_AT))
        socket.send_fds(self._theirs, [b"x"], [listener])
        os.close(listener)
        self._theirs.close()

    def serve(self, wait: Callable[[float], int | None], pid: int) -> None:
        """In the parent: answer until `wait` says that the child has ended."""
        self._theirs.close()
        self._ours.settimeout(30)
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        self._ours.close()
        if not descriptors:
            return
        (listener,) = descriptors
        end = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(end, select.POLLIN)
        try:
            while wait(0) is None:
                events = dict(poll.poll(1000))
                if events.get(listener, 0) & select.POLLIN:
                    self._answer(listener)
                elif events.get(listener, 0):
                    return
        finally:
            os.close(end)
            os.close(listener)

    def _answer(self, listener: int) -> None:
        notice = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, notice)
        except OSError:
            return  # it was killed meanwhile
        name, pid, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", notice)
        call = self._call(pid, number, arguments)
        fails = call is not None and self._fails(call)
        answer = struct.pack("=QqiI", name, 0, -self._code if fails else 0, 0 if fails else _CONTINUE)
        try:
            fcntl.ioctl(listener, _SEND, bytearray(answer))
        except OSError:
            return

    def _fails(self, call: str) -> bool:
        if call.split()[0] not in FAILURES[self._code]:
            return False
        self.calls.append(call)
        fails = self._first > 0 and (
            len(self.calls) == self._first or (self._lasting and len(self.calls) > self._first)
        )
        if fails:
            self.failed.append(call)
        return fails

    def _call(self, pid: int, number: int, arguments: list[int]) -> str | None:
        """What is called, and below the folder; None for what is elsewhere or only reads."""
        try:
            if number in _BY_DESCRIPTOR:
                name, path = _BY_DESCRIPTOR[number], _link(pid, f"fd/{arguments[0] & 0xFFFFFFFF}")
            elif number in _BY_PATH:
                name, path = _BY_PATH[number], _path(pid, None, arguments[1 if number == 88 else 0])
            else:
                name, path = _AT[number], _path(pid, arguments[0], arguments[1])
        except (OSError, KeyError):
            return None
        flags = {2: arguments[1], 257: arguments[2]}.get(number, _WRITES)
        below = path == self._folder or path.startswith(self._folder + "/")
        return f"{name} {path[len(self._folder) :]}" if below and flags & _WRITES else None


def _link(pid: int, name: str) -> str:
    return os.fspath(Path(f"/proc/{pid}/{name}").readlink())


def _path(pid: int, descriptor: int | None, address: int) -> str:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        memory.seek(address)
        text = os.fsdecode(memory.read(4096 - address % 4096).partition(b"\0")[0])
        if len(text) == 4096 - address % 4096:
            text += os.fsdecode(memory.read(4096).partition(b"\0")[0])
    at = None if descriptor is None else ctypes.c_int(descriptor & 0xFFFFFFFF).value
    base = _link(pid, "cwd" if at in (None, -100) else f"fd/{at}")
    return os.path.normpath(os.path.join(base, text))  # noqa: PTH118


def _install(numbers: tuple[int, ...]) -> int:
    """A filter that asks for these calls and allows the others; its listener. Raises OSError."""
    load_arch, load_number = (0x20, 0, 0, 4), (0x20, 0, 0, 0)
    program = [load_arch, (0x15, 1, 0, _X86_64), (0x06, 0, 0, _ALLOW), load_number]
    program += [(0x15, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    program += [(0x06, 0, 0, _ALLOW), (0x06, 0, 0, _NOTIFY)]
    code = b"".join(struct.pack("=HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    listener = int(libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, header))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener
