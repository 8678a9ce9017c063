"""What an ONNX recognizer takes: known by its hash, told by the numbers in its graph, or as InsightFace takes it.

A normalization inside the graph stays there, so that an input is always that of the file, whoever names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from onnx import TensorProto

from efq.runtime.faces.normalization import NORMALIZATIONS
from efq.toolchain.graph.from_onnx import ImportedNetwork
from efq.toolchain.graph.from_onnx.image_normalization import InnerNormalization, find_normalization
from efq.toolchain.teachers.teacher_input import ColorOrder, TeacherInput


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownFile:
    """A public file. normalization: of the image before the graph, in the names of `NORMALIZATIONS`.

    provenance: a line on what its weights were trained on.
    """

    name: str
    color_order: ColorOrder
    normalization: str
    licence: str
    provenance: str


_SFACE = KnownFile(
    name="SFace (OpenCV Zoo)",
    color_order="rgb",
    normalization="0..255",
    licence="Apache-2.0",
    provenance="what SFace was trained on is an open question (github.com/opencv/opencv_zoo/issues/313)",
)

KNOWN: Mapping[str, KnownFile] = MappingProxyType(
    {
        "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79": _SFACE,
        "4b42b953a1d3dd20ded45011f9debf357640deda58682944a7c0608c7ff30e3e": _SFACE,
        "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee": _SFACE,
        "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581": KnownFile(
            name="MobileFaceNet (faceplugin)",
            color_order="bgr",
            normalization="-1..1",
            licence="MIT",
            provenance="the package that the file comes in is under MIT; where its weights come from is not stated",
        ),
    }
)
"""By SHA-256, for files whose graph does not say it all."""

_FIRST_NODES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxInput:
    """What the file's own graph takes. reason: for the user, what says so."""

    input: TeacherInput
    reason: str


def input_of(imported: ImportedNetwork, sha256: str) -> OnnxInput:
    """By the hash, else by the numbers that its graph normalizes with, else by InsightFace's rule."""
    color_order: ColorOrder = "gray" if imported.image.channels == 1 else "rgb"
    known = KNOWN.get(sha256)
    inner = find_normalization(imported.network)
    range_inside = None if inner is None else outer_normalization(inner)
    if known is not None:
        color_order, name, reason = known.color_order, known.normalization, f"known by its hash as {known.name}"
    elif imported.image.data_type == TensorProto.UINT8:
        name, reason = "0..255", "its graph takes bytes"
    elif range_inside is not None:
        name, reason = range_inside, "which its graph normalizes itself"
    else:
        raw = _insightface_takes_raw(imported)
        name = "0..255" if raw else "-1..1"
        found = "nodes" if raw else "no nodes"
        reason = f"as InsightFace takes it ({found} named Sub and Mul at the start); say another with --teacher-input"
    found_input = TeacherInput(color_order=color_order, normalization=NORMALIZATIONS[name], size=imported.image.size)
    return OnnxInput(input=found_input, reason=reason)


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
