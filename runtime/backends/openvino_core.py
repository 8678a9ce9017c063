"""OpenVINO of this process: imported without its telemetry, and the threads that its networks leave behind.

OpenVINO keeps the threads of a network that was freed for the next one of as many streams and threads, until its last
Core is freed (src/inference/src/dev/threading/executor_manager.cpp of its sources). The child of a fork would be given
threads that did not come along, and wait for them for ever. So none are left: they end with the last network, and while
others are open an empty network holds those of one that was freed until they are wanted again.

TBB's threads outlive every Core, and the last one of a child that never had them would end the process in freeing them:
where a parent has loaded OpenVINO, its children keep theirs for ever.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Hashable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from efq.runtime.backends.telemetry import CHOICE
from efq.runtime.errors import MissingDependencyError
from efq.runtime.machine.forks import keep_for_ever, loading

NAME = "openvino"
"""Of the backend."""

Holder = TypeVar("Holder")

_TELEMETRY = "openvino_telemetry"
_FOR_EVER = "the child of a process that has loaded OpenVINO"  # among the users, which are numbers


def import_openvino() -> Any:
    """The module. Raises MissingDependencyError when it is not installed or does not load."""
    try:
        with loading, _without_telemetry():
            return importlib.import_module("openvino")
    except ImportError as error:
        message = (
            f"this needs OpenVINO, which cannot be imported ({error}); install it with: pip install 'efq[openvino]'"
        )
        raise MissingDependencyError(message) from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """OpenVINO takes its own stub where its telemetry package cannot be imported."""
    if _TELEMETRY in sys.modules or os.environ.get(CHOICE) == "1":
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]


class OpenVinoCore:
    """A Core with its CPU plugin, as `core_of_process` gives it; whoever was given it ends with `leave`."""

    def __init__(self) -> None:
        global _is_loaded
        self._module = import_openvino()
        self._core = self._module.Core()
        _is_loaded = True
        self._users: set[Hashable] = set()
        self._empty: dict[Hashable, list[Any]] = {}

    def join(self, user: Hashable) -> None:
        """`user` needs it until `leave`."""
        self._users.add(user)

    def leave(self, user: Hashable, holders: MutableMapping[Holder, Mapping[str, Any]]) -> None:
        """Free what `user` compiled: `holders`, which is emptied, has all that holds it, with its options."""
        with loading:
            if self is not _of_process:  # the child of a fork, where destructors would wait for ever
                keep_for_ever(dict(holders))
                return
            options = list(holders.values())
            holders.clear()
            self._users.discard(user)
            if not self._users:
                self._end()
            for each in options if self._users else ():
                with contextlib.suppress(RuntimeError):  # no memory, no threads: then there are none to hold either
                    self._hold(each)

    def read_model(self, content: bytes) -> Any:
        """The network of an ONNX file."""
        with loading:
            return self._core.read_model(io.BytesIO(content))

    def compile(self, model: Any, options: Mapping[str, Any]) -> Any:
        """`model`, compiled for the CPU."""
        with loading:
            held = self._empty.get(_key(options))
            if held:
                held.pop()
            return self._core.compile_model(model, "CPU", dict(options))

    def _hold(self, options: Mapping[str, Any]) -> None:
        parameter = self._module.op.Parameter(self._module.Type.f32, self._module.Shape([1]))
        model = self._module.Model([self._module.op.Result(parameter.output(0))], [parameter], "empty")
        holder = self._core.compile_model(model, "CPU", dict(options))
        self._empty.setdefault(_key(options), []).append(holder)

    def _end(self) -> None:
        global _of_process
        _of_process = None
        self._empty.clear()
        self._core = None


_of_process: OpenVinoCore | None = None
_is_loaded = False  # in this process or one that it was forked from
_is_inherited = False


def core_of_process(user: Hashable) -> OpenVinoCore:
    """The one that every network of this process is compiled by. Raises MissingDependencyError without OpenVINO."""
    global _of_process
    with loading:
        if _of_process is None:
            _of_process = OpenVinoCore()
            if _is_inherited:
                keep_for_ever(_of_process)
                _of_process.join(_FOR_EVER)
        _of_process.join(user)
        return _of_process


def _key(options: Mapping[str, Any]) -> Hashable:
    return tuple(sorted(options.items()))


def _forget_parent() -> None:
    """In the child of a fork, which has none of the parent's threads: it loads its own."""
    global _of_process, _is_inherited
    _is_inherited = _is_loaded
    if _of_process is not None:
        keep_for_ever(_of_process)
        _of_process = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
