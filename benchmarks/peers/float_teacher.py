"""The float reference: a teacher as a float32 ONNX file, as a user would deploy it today."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import torch
from torch import nn

from efq.runtime.artifact.contract import InputContract
from efq.runtime.faces.normalization import Normalization
from efq.toolchain.teachers import open_teacher

OPSET = 17


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FloatTeacher:
    """A float32 ONNX file, input "images" (N, 3, H, W) normalized, output "embeddings" (N, d), and its normalization.

    The normalization is left out of the file and of every timing, which favours the float network a little: an
    artifact takes uint8 images and normalizes inside. `open_teacher(checkpoint, backbone, teacher_input)` is what it
    was exported from.
    """

    name: str
    path: Path
    normalization: Normalization
    checkpoint: Path
    backbone: str | None
    teacher_input: str | None = None


def export_teacher(
    checkpoint: Path,
    destination: Path,
    *,
    name: str,
    backbone: str | None = None,
    teacher_input: str | None = None,
    contract: InputContract | None = None,
) -> FloatTeacher:
    """Write the teacher in `checkpoint` as ONNX to `destination`, for images of its own contract or another.

    Raises what `open_teacher` raises.
    """
    teacher = open_teacher(checkpoint, backbone, teacher_input)
    export_float_onnx(teacher.network, destination, contract or teacher.contract)
    return FloatTeacher(
        name=name,
        path=destination,
        checkpoint=checkpoint,
        normalization=teacher.normalization,
        backbone=backbone,
        teacher_input=teacher_input,
    )


def export_float_onnx(network: nn.Module, destination: Path, contract: InputContract) -> None:
    """Write a float network (N, 3, H, W) -> (N, d) as one ONNX file with a dynamic batch size."""
    example = torch.zeros(2, 3, contract.height, contract.width)
    with warnings.catch_warnings():
        # The older exporter is announced as leaving torch. It writes the same operators, a smaller file, ten times as
        # fast; ONNX Runtime runs both files in the same time.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (example,),
            str(destination),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["embeddings"],
            dynamic_axes={"images": {0: "batch"}, "embeddings": {0: "batch"}},
        )
