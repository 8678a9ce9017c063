"""Export for OpenVINO on CPUs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from efq.export.coverage.evidence import Evidence
from efq.export.qdq.passes.fuse_activations import FUSE_ACTIVATIONS
from efq.export.qdq.passes.fuse_prelus import FUSE_PRELUS
from efq.export.qdq.passes.late_clamps import LATE_CLAMPS
from efq.export.qdq.passes.padded_averages import PADDED_AVERAGES
from efq.export.qdq.passes.quantized_image import QUANTIZED_IMAGE
from efq.export.qdq.passes.strided_positions import STRIDED_POSITIONS
from efq.export.qdq.target import QdqTarget, all_bits_sentence
from efq.export.targets.openvino.evidence import collect_openvino_evidence
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.backends.model import Model
from efq.runtime.backends.openvino import OpenVinoModel
from efq.runtime.faces.interface import USUAL, Interface


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenVino(QdqTarget):
    """Rounds otherwise than the reference where it fuses."""

    def open_model(self, path: Path, *, reduced_range: bool, interface: Interface = USUAL) -> Model:
        return OpenVinoModel(path, threads=1, reduced_range=reduced_range, interface=interface)

    def collect_evidence(self, path: Path, *, images: NDArray[Any], runs: int) -> Evidence:
        return collect_openvino_evidence(path, images=images, runs=runs)

    def card_sentences(self, manifest: Manifest) -> list[str]:
        if manifest.reduced_range:
            return []
        return [
            f"{all_bits_sentence(manifest)} On x86 CPUs without VNNI, OpenVINO sums products in saturating 16 bits, so "
            "`efq.runtime` refuses to open this folder there: export it without `--full-range`, or for `ort-cpu`."
        ]


# Without a QuantizeLinear of its own the image's zero point makes OpenVINO run the first convolution in float32.
TARGET = OpenVino(
    name="openvino",
    description="OpenVINO on CPUs: the graph of ort-cpu, whose first convolution OpenVINO runs as it is",
    products_saturate=True,
    has_interfaces=True,
    triton_backend="openvino",
    passes=(LATE_CLAMPS, FUSE_PRELUS, FUSE_ACTIVATIONS, PADDED_AVERAGES, STRIDED_POSITIONS, QUANTIZED_IMAGE),
    least_cosine=0.97,
)
