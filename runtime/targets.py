"""Stub until house-R is merged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from efq.runtime.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    name: str
    backends: tuple[str, ...]
    exporter: str


_T = {
    t.name: t
    for t in (
        Target(name="ort-cpu", backends=("onnxruntime",), exporter="efq.export.targets.ort_cpu:TARGET"),
        Target(name="openvino", backends=("openvino",), exporter="efq.export.targets.openvino:TARGET"),
        Target(name="trt", backends=("onnxruntime",), exporter="efq.export.targets.tensorrt:TRT"),
        Target(name="trt-rtx", backends=("onnxruntime",), exporter="efq.export.targets.tensorrt:TRT_RTX"),
    )
}


def targets() -> Mapping[str, Target]:
    return _T


def find_target(name: str) -> Target:
    if name not in _T:
        message = f"unknown target {name!r}: expected one of {', '.join(sorted(_T))}"
        raise UsageError(message)
    return _T[name]
