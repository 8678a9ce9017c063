"""Export for ONNX Runtime on CPUs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from efq.export.coverage.evidence import Evidence
from efq.export.qdq.passes.four_pixel_stem import FOUR_PIXEL_STEM
from efq.export.qdq.passes.hardsigmoid_convolutions import HARDSIGMOID_CONVOLUTIONS
from efq.export.qdq.passes.late_clamps import LATE_CLAMPS
from efq.export.qdq.target import QdqTarget, all_bits_sentence
from efq.export.targets.ort_cpu.evidence import collect_evidence
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.backends.model import Model
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.runtime.faces.interface import USUAL, Interface


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrtCpu(QdqTarget):
    """Rounds as the integer reference does."""

    def open_model(self, path: Path, *, reduced_range: bool, interface: Interface = USUAL) -> Model:
        return OnnxRuntimeModel(path, threads=1, reduced_range=reduced_range, interface=interface)

    def collect_evidence(self, path: Path, *, images: NDArray[Any], runs: int) -> Evidence:
        return collect_evidence(path, images=images, runs=runs)

    def card_sentences(self, manifest: Manifest) -> list[str]:
        if manifest.reduced_range:
            return []
        return [
            f"{all_bits_sentence(manifest)} On x86 CPUs without VNNI, `efq.runtime` chooses kernels that do not "
            "saturate, slower ones; ONNX Runtime by itself sums products in saturating 16 bits there, which can change "
            "embeddings."
        ]


TARGET = OrtCpu(
    name="ort-cpu",
    description="ONNX Runtime on CPUs: uint8 activations, int8 weights per channel, int32 bias with scale x * w",
    products_saturate=True,
    probe_cosine=0.999,
    has_interfaces=True,
    triton_backend="onnxruntime",
    passes=(LATE_CLAMPS, HARDSIGMOID_CONVOLUTIONS, FOUR_PIXEL_STEM),
)
