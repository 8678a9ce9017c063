"""What an ONNX recognizer was trained to be fed: known by its hash, told by its graph, or as InsightFace takes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from efq.runtime.faces.normalization import Normalization
from efq.toolchain.graph.from_onnx import ImportedNetwork
from efq.toolchain.graph.from_onnx.image_normalization import (
    InnerNormalization,
    find_normalization,
    remove_normalization,
)
from efq.toolchain.teachers.teacher_input import NORMALIZATIONS, ColorOrder


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownFile:
    """A public file. normalization: of the image before the graph, in the names of `NORMALIZATIONS`."""

    name: str
    color_order: ColorOrder
    normalization: str
    licence: str


_SFACE = KnownFile(name="SFace (OpenCV Zoo)", color_order="rgb", normalization="0..255", licence="Apache-2.0")

KNOWN: Mapping[str, KnownFile] = MappingProxyType(
    {
        "4b42b953a1d3dd20ded45011f9debf357640deda58682944a7c0608c7ff30e3e": _SFACE,
        "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee": _SFACE,
        "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581": KnownFile(
            name="MobileFaceNet (faceplugin)", color_order="bgr", normalization="-1..1", licence="MIT"
        ),
    }
)
"""By SHA-256, for files whose graph does not say it all."""

_FIRST_NODES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxInput:
    """outer: what is done to pixels before the file's own graph. reason: for the user, what says so."""

    color_order: ColorOrder
    outer: Normalization
    reason: str


def input_of(imported: ImportedNetwork, sha256: str) -> OnnxInput:
    """By the hash, else by the numbers that its graph normalizes with, else by InsightFace's rule."""
    known = KNOWN.get(sha256)
    if known is not None:
        outer = NORMALIZATIONS[known.normalization]
        return OnnxInput(color_order=known.color_order, outer=outer, reason=f"known by its hash as {known.name}")
    inner = find_normalization(imported.network)
    name = None if inner is None else outer_normalization(inner)
    if name is not None:
        reason = f"its graph normalizes images of {name} itself"
        return OnnxInput(color_order="rgb", outer=NORMALIZATIONS[name], reason=reason)
    raw = _insightface_takes_raw(imported)
    name = "0..255" if raw else "-1..1"
    found = "nodes named Sub and Mul at the start" if raw else "no nodes named Sub and Mul at the start"
    reason = f"taken as InsightFace does ({found}); say another with --teacher-input"
    return OnnxInput(color_order="rgb", outer=NORMALIZATIONS[name], reason=reason)


def take_out_normalization(imported: ImportedNetwork, outer: Normalization) -> Normalization:
    """The normalization of pixels by `outer` and the graph's own together; the graph's is taken out of the network.

    (pixel - outer mean) / outer std, then (x - mean) / std.
    """
    inner = find_normalization(imported.network)
    if inner is None or outer_normalization(inner) is None or not remove_normalization(imported.network):
        return outer
    mean = [one + two * three for one, two, three in zip(outer.mean, outer.std, inner.mean, strict=True)]
    std = [one * two for one, two in zip(outer.std, inner.std, strict=True)]
    return Normalization(mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))


def outer_normalization(inner: InnerNormalization) -> str | None:
    """The range of images that `inner` normalizes, in the names of `NORMALIZATIONS`; None where it leaves it open."""
    if all(50 <= mean <= 200 for mean in inner.mean) and all(1 <= std <= 300 for std in inner.std):
        return "0..255"
    if all(abs(mean) < 1 for mean in inner.mean) and all(50 <= std <= 300 for std in inner.std):
        return "0..255"
    if all(0.2 <= mean <= 0.8 for mean in inner.mean) and all(0.003 <= std <= 1 for std in inner.std):
        return "0..1"
    if all(abs(mean) < 0.01 for mean in inner.mean) and all(0.0035 <= std <= 0.0045 for std in inner.std):
        return "0..1"
    if all(abs(mean + 1) < 0.01 for mean in inner.mean) and all(0.007 <= std <= 2.01 for std in inner.std):
        return "-1..1"
    return None


def _insightface_takes_raw(imported: ImportedNetwork) -> bool:
    """Its package's rule (python-package/insightface/model_zoo/arcface_onnx.py): names among the first 8 nodes."""
    names = [node.name for node in imported.model.proto.graph.node[:_FIRST_NODES]]
    return all(any(name.startswith(start) for name in names) for start in (("Sub", "_minus"), ("Mul", "_mul")))
