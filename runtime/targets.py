"""THE table of targets: a row for each that EFQ brings, and those of other packages, by entry point.

A package adds a target with an entry point of the group `efq.targets` that names a `Target`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Mapping
from types import MappingProxyType

from efq.runtime.backends.needs import onnxruntime_needs, openvino_needs
from efq.runtime.backends.open import ONNXRUNTIME, OPENVINO, open_on_cpu
from efq.runtime.backends.target import OpenOptions, Target
from efq.runtime.errors import UsageError
from efq.runtime.tensorrt.needs import tensorrt_needs
from efq.runtime.tensorrt.open import open_tensorrt

__all__ = ["ENTRY_POINTS", "OpenOptions", "Target", "find_target", "targets"]

ENTRY_POINTS = "efq.targets"

_ROWS = (
    Target(
        name="ort-cpu",
        devices=("cpu",),
        backends=(ONNXRUNTIME, OPENVINO),
        open=open_on_cpu,
        needs=onnxruntime_needs,
        exporter="efq.export.targets.ort_cpu:TARGET",
    ),
    Target(
        name="openvino",
        devices=("cpu",),
        backends=(OPENVINO,),  # another runtime computes parts of its graph in float (PRelu behind a convolution)
        open=open_on_cpu,
        needs=openvino_needs,
        exporter="efq.export.targets.openvino:TARGET",
        packages=("openvino",),
    ),
    Target(
        name="trt",
        devices=("cuda", "cpu"),
        backends=(ONNXRUNTIME, OPENVINO),
        open=open_tensorrt,
        needs=tensorrt_needs,
        exporter="efq.export.targets.tensorrt:TRT",
    ),
    Target(
        name="trt-rtx",
        devices=("cuda", "cpu"),
        backends=(ONNXRUNTIME, OPENVINO),
        open=open_tensorrt,
        needs=tensorrt_needs,
        exporter="efq.export.targets.tensorrt:TRT_RTX",
    ),
)

_BUILT_IN = {target.name: target for target in _ROWS}

_logger = logging.getLogger(__name__)


@functools.cache
def targets() -> Mapping[str, Target]:
    """Every target by name: EFQ's own first, then those of other packages.

    What another package offers that cannot be loaded, is no Target or has a name that is taken is left out with a
    warning; the rest can be used all the same.
    """
    found = dict(_BUILT_IN)
    for entry_point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS)):
        target = _load(entry_point)
        if target is None:
            continue
        if target.name in found:
            _logger.warning(
                "the target %s of %s is left out: there is one of that name", target.name, entry_point.value
            )
            continue
        found[target.name] = target
    return MappingProxyType(found)


def find_target(name: str) -> Target:
    """The target of that name; other packages are loaded only for one that is not EFQ's own.

    Raises UsageError when there is none, naming those there are.
    """
    known = _BUILT_IN if name in _BUILT_IN else targets()
    if name not in known:
        message = f"unknown target {name!r}: expected one of {', '.join(sorted(known))}"
        raise UsageError(message)
    return known[name]


def _load(entry_point: importlib.metadata.EntryPoint) -> Target | None:
    try:
        loaded = entry_point.load()
    except Exception as error:  # whatever another package does when it is imported
        _logger.warning("the target of %s cannot be loaded: %s: %s", entry_point.value, type(error).__name__, error)
        return None
    if not isinstance(loaded, Target):
        _logger.warning("%s is no target: expected a Target, found %s", entry_point.value, type(loaded).__name__)
        return None
    return loaded
