"""Teachers in ONNX files."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import CheckpointError, UsageError
from efq.runtime.faces.normalization import Normalization
from efq.runtime.file_kinds import FIRST_BYTES, ONNX, kind_of_bytes
from efq.runtime.reading import FILE_LIMIT, open_regular, sha256_file
from efq.toolchain.teachers.teacher import Teacher

_CHECKED_IMAGES = 4

_logger = logging.getLogger(__name__)


class OnnxFormat:
    """A recognizer as an ONNX graph, of any exporter: imported as a torch network that equals it in ONNX Runtime."""

    name = "ONNX"

    def recognizes(self, path: Path) -> bool:
        """By its first bytes; a file named .onnx is one that is damaged."""
        try:
            with open_regular(path, limit=FILE_LIMIT, expected="an ONNX file", error_class=CheckpointError) as file:
                kind = kind_of_bytes(file.read(FIRST_BYTES))
        except CheckpointError:
            return False
        return kind is ONNX or (kind is None and path.suffix.lower() == ".onnx")

    def open(self, path: Path, backbone: str | None) -> Teacher:
        """Raises CheckpointError where the graph has no torch form, or one that computes something else.

        UsageError for a `backbone`: the file is its own network.
        """
        from efq.toolchain.graph.from_onnx import compare_with_onnx, import_onnx
        from efq.toolchain.teachers.onnx_input import KNOWN, input_of, take_out_normalization

        if backbone is not None:
            message = f"expected no --backbone for the ONNX file {path}, which holds its network; found {backbone!r}"
            raise UsageError(message)
        imported = import_onnx(path)
        sha256 = sha256_file(path, expected="a teacher's file", error_class=CheckpointError)
        known, found = KNOWN.get(sha256), input_of(imported, sha256)
        compare_with_onnx(imported, _normalized(drawn_images(imported.image.size), found.outer))
        normalization = take_out_normalization(imported, found.outer)
        for note in (*imported.notes, f"input: {found.color_order}, {found.reason}"):
            _logger.info("%s: %s", path.name, note)
        height, width = imported.image.size
        return Teacher.of_network(
            imported.network,
            name=known.name if known else path.stem,
            normalization=normalization,
            path=path,
            licence=known.licence if known else "unknown",
            contract=InputContract(height=height, width=width) if imported.image.size_known else None,
            color_order=found.color_order,
        )


def drawn_images(size: tuple[int, int], count: int = _CHECKED_IMAGES) -> Tensor:
    """Smooth random images, float32 (count, 3, H, W) of 0 to 255."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 7, 7, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False).round()


def _normalized(images: Tensor, normalization: Normalization) -> Tensor:
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
    return (images - mean) / std
