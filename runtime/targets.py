"""THE table of targets: a row for each that EFQ brings, and those of other packages, by entry point.

A package adds a target with an entry point of the group `efq.targets` that names a `Target`; what that is made of is
offered here too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.model import Model
from efq.runtime.backends.open import LITERT, NATIVE, ONNXRUNTIME, OPENVINO, open_on_cpu
from efq.runtime.backends.target import OpenOptions, Target
from efq.runtime.errors import UsageError
from efq.runtime.extensions import load_extensions

if TYPE_CHECKING:
    from efq.runtime.machine.hardware import Hardware, Need

__all__ = ["ENTRY_POINTS", "Artifact", "Hardware", "Model", "Need", "OpenOptions", "Target", "find_target", "targets"]

ENTRY_POINTS = "efq.targets"


def __getattr__(name: str) -> object:
    """What only the needs of a target are made of is loaded when it is asked for."""
    if name not in ("Hardware", "Need"):
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from efq.runtime.machine import hardware

    return getattr(hardware, name)


def _open_tensorrt(target: Target, artifact: Artifact, options: OpenOptions) -> Model:
    from efq.runtime.tensorrt.open import open_tensorrt  # a service on the CPU starts without it

    return open_tensorrt(target, artifact, options)


def _open_litert(target: Target, artifact: Artifact, options: OpenOptions) -> Model:
    from efq.runtime.litert.open import open_litert  # as above

    return open_litert(target, artifact, options)


def _onnxruntime_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    from efq.runtime.backends.needs import onnxruntime_needs  # each of these: efq-doctor asks, and no service

    return onnxruntime_needs(target, hardware)


def _openvino_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    from efq.runtime.backends.needs import openvino_needs

    return openvino_needs(target, hardware)


def _litert_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    from efq.runtime.litert.needs import litert_needs

    return litert_needs(target, hardware)


def _tensorrt_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    from efq.runtime.tensorrt.needs import tensorrt_needs

    return tensorrt_needs(target, hardware)


_ROWS = (
    Target(
        name="ort-cpu",
        devices=("cpu",),
        backends=(ONNXRUNTIME, OPENVINO, NATIVE),
        open=open_on_cpu,
        needs=_onnxruntime_needs,
        exporter="efq.export.targets.ort_cpu.target:TARGET",
    ),
    Target(
        name="openvino",
        devices=("cpu",),
        backends=(OPENVINO,),  # another runtime computes parts of its graph in float (PRelu behind a convolution)
        open=open_on_cpu,
        needs=_openvino_needs,
        exporter="efq.export.targets.openvino.target:TARGET",
        packages=("openvino",),
    ),
    Target(
        name="litert",
        devices=("cpu",),
        backends=(LITERT,),
        open=_open_litert,
        needs=_litert_needs,
        exporter="efq.export.targets.litert.target:TARGET",
        packages=("ai-edge-litert",),
    ),
    Target(
        name="trt",
        devices=("cuda", "cpu"),
        backends=(ONNXRUNTIME, OPENVINO),
        open=_open_tensorrt,
        needs=_tensorrt_needs,
        exporter="efq.export.targets.tensorrt.target:TRT",
        symmetric_activations=True,
    ),
    Target(
        name="trt-rtx",
        devices=("cuda", "cpu"),
        backends=(ONNXRUNTIME, OPENVINO),
        open=_open_tensorrt,
        needs=_tensorrt_needs,
        exporter="efq.export.targets.tensorrt.target:TRT_RTX",
        symmetric_activations=True,
    ),
)

_BUILT_IN = {target.name: target for target in _ROWS}


@functools.cache
def targets() -> Mapping[str, Target]:
    """Every target by name: EFQ's own first, then those of other packages.

    What another package offers that cannot be loaded, is no Target or has a name that is taken is left out with a
    warning; the rest can be used all the same.
    """
    return MappingProxyType(_BUILT_IN | load_extensions(ENTRY_POINTS, Target, taken=_BUILT_IN))


def is_built_in(target: Target) -> bool:
    """Whether it is one of EFQ's own."""
    return _BUILT_IN.get(target.name) is target


def find_target(name: str) -> Target:
    """The target of that name; other packages are loaded only for one that is not EFQ's own.

    Raises UsageError when there is none, naming those there are.
    """
    known = _BUILT_IN if name in _BUILT_IN else targets()
    if name not in known:
        message = f"unknown target {name!r}: expected one of {', '.join(sorted(known))}"
        raise UsageError(message)
    return known[name]
