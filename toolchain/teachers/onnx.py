"""Teachers in ONNX files."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import CheckpointError, UsageError
from efq.runtime.file_kinds import FIRST_BYTES, ONNX, kind_of_bytes
from efq.runtime.lineage.lineage import BY_HASH, IN_FILE
from efq.runtime.lineage.spdx import UNKNOWN
from efq.runtime.lineage.statement import stated_licence
from efq.runtime.reading import FILE_LIMIT, open_regular, sha256_file
from efq.toolchain.teachers.color_channels import LUMINANCE
from efq.toolchain.teachers.teacher import Teacher
from efq.toolchain.teachers.teacher_input import TeacherInput

if TYPE_CHECKING:
    from onnx import ModelProto

_CHECKED_IMAGES = 4

_logger = logging.getLogger(__name__)


class OnnxFormat:
    """A recognizer as an ONNX graph, of any exporter: imported as a torch network that equals it in ONNX Runtime."""

    name = "ONNX"

    def recognizes(self, path: Path) -> bool:
        """By its first bytes; a file of no known kind that is named .onnx is one that is damaged."""
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
        from efq.toolchain.teachers.onnx_input import KNOWN, input_of

        if backbone is not None:
            message = f"expected no --backbone for the ONNX file {path}, which holds its network; found {backbone!r}"
            raise UsageError(message)
        imported = import_onnx(path)
        sha256 = sha256_file(path, expected="a teacher's file", error_class=CheckpointError)
        known, found = KNOWN.get(sha256), input_of(imported, sha256)
        stated = _stated_licence(imported.model.proto)
        drawn = drawn_images(imported.image.size)
        compare_with_onnx(imported, _as_fed(found.input, drawn, imported.image.channels))
        notes = (*imported.notes, f"input of the file by itself: {found.input}, {found.reason}")
        for note in notes:
            _logger.info("%s: %s", path.name, note)
        height, width = imported.image.size
        return Teacher.of_network(
            imported.network,
            name=known.name if known else path.stem,
            normalization=found.input.normalization,
            path=path,
            licence=known.licence if known else stated or UNKNOWN,
            licence_source=BY_HASH if known else IN_FILE if stated else None,
            provenance=known.provenance if known else None,
            contract=InputContract(height=height, width=width) if imported.image.size_known else None,
            color_order=found.input.color_order,
            notes=notes,
            verify=functools.partial(compare_on_faces, path),
        )


def _stated_licence(proto: ModelProto) -> str | None:
    """What the file's own metadata or its descriptions say."""
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return stated_licence(metadata, f"{proto.doc_string}\n{proto.graph.doc_string}")


def compare_on_faces(path: Path, teacher_input: TeacherInput, faces: NDArray[np.uint8]) -> None:
    """Compare the ONNX file in ONNX Runtime with its import on faces (N, H, W, 3) RGB, fed as `teacher_input` says.

    Raises CheckpointError, naming the first node that differs, where a cosine is below 1 - 1e-6, and for faces of
    another size than the file's.
    """
    from efq.toolchain.graph.from_onnx import compare_with_onnx, import_onnx

    imported = import_onnx(path)
    (height, width), found = imported.image.size, faces.shape[1:3]
    if imported.image.size_known and found != (height, width):
        message = f"expected images of {height}x{width}, which are all that {path} takes, found {found[0]}x{found[1]}"
        raise CheckpointError(message)
    images = torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2).float()
    least = compare_with_onnx(imported, _as_fed(teacher_input, images, imported.image.channels))
    if least is not None:
        _logger.info("%s: least cosine to ONNX Runtime's embeddings %.7f on %d faces", path.name, least, len(faces))


def drawn_images(size: tuple[int, int], count: int = _CHECKED_IMAGES) -> Tensor:
    """Smooth random images, float32 (count, 3, H, W) of 0 to 255."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 7, 7, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False).round()


def _as_fed(wanted: TeacherInput, images: Tensor, channels: int) -> Tensor:
    """RGB images of 0 to 255 as a file's graph takes them, (N, channels, H, W)."""
    mean, std = (
        torch.tensor(values).reshape(1, 3, 1, 1) for values in (wanted.normalization.mean, wanted.normalization.std)
    )
    values = (images - mean) / std
    if wanted.color_order == "gray":
        luminance = torch.tensor(LUMINANCE).reshape(1, 3, 1, 1)
        return (values * luminance).sum(1, keepdim=True).expand(-1, channels, -1, -1)
    return values.flip(1) if wanted.color_order == "bgr" else values
