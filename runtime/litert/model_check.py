"""Whether a .tflite file is a graph of EFQ's, found before LiteRT parses it: what a stranger wrote may hold anything.

LiteRT trusts a file: offsets, shapes, the numbers of tensors. So all of them are checked here: closed lists of fields
and operators, every stored tensor as large as its bytes, every value given once and before it is read, the shape of
each, and how much memory and work they are together.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.runtime.artifact.graph_values import GraphError, expect
from efq.runtime.artifact.model_check import MOST_ELEMENTS, MOST_ELEMENTS_TOGETHER, MOST_MULTIPLY_ADDS
from efq.runtime.artifact.onnx_model import LARGEST_RANK, MOST_NODES
from efq.runtime.errors import IncompatibleArtifactError
from efq.runtime.litert.flatbuffer import DamagedFlatbufferError
from efq.runtime.litert.model_file import LiteRtFile, Operator, Tensor, read_litert_file
from efq.runtime.litert.operators import apply

LARGEST_FILE = 2**30
"""Bytes; IResNet-100 has 6.5e7."""

_LEAST_SCALE, _LARGEST_SCALE = 2.0**-126, 2.0**100  # a product of three stays finite
_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int32": (0, 0)}


def check_litert(content: bytes, path: Path) -> None:
    """Check that `content`, which came from `path`, is a file as EFQ writes them.

    Raises IncompatibleArtifactError that names the tensor, operator or field that is not.
    """
    try:
        expect(len(content) <= LARGEST_FILE, f"{len(content):,} bytes, more than {LARGEST_FILE:,}")
        _check(read_litert_file(content))
    except (DamagedFlatbufferError, GraphError) as error:
        message = (
            f"expected a .tflite file as EFQ writes them at {path}, found {error}; export it again with efq-export"
        )
        raise IncompatibleArtifactError(message) from error


def _check(file: LiteRtFile) -> None:
    expect(len(file.operators) <= MOST_NODES, f"{len(file.operators):,} operators, more than {MOST_NODES:,}")
    for tensor in file.tensors:
        _check_tensor(tensor)
    _check_images(file)
    given = {number for number, tensor in enumerate(file.tensors) if tensor.data is not None} | set(file.inputs)
    made: dict[int, str] = {}
    elements = work = 0
    for operator in file.operators:
        try:
            work += _apply(file, operator, given, made)
        except GraphError as error:
            described = f"operator {file.tensors[operator.output].name!r} ({operator.kind}) with {error}"
            raise GraphError(described) from error
        elements += math.prod(file.tensors[operator.output].shape)
        expect(elements <= MOST_ELEMENTS_TOGETHER, f"more than {MOST_ELEMENTS_TOGETHER:,} values in all")
        expect(work <= MOST_MULTIPLY_ADDS, f"more than {MOST_MULTIPLY_ADDS:,} multiply-adds")
    expect(len(given) == len(file.tensors), "tensors that nothing gives")
    expect(len(file.outputs) == 1 and made.get(file.outputs[0]) == "L2_NORMALIZATION", "no embedding of unit length")


def _apply(file: LiteRtFile, operator: Operator, given: set[int], made: dict[int, str]) -> int:
    inputs = [file.tensors[number] for number in operator.inputs]
    missing = [tensor.name for number, tensor in zip(operator.inputs, inputs, strict=True) if number not in given]
    expect(not missing, f"the input {missing[:1]}, which nothing before it gives")
    expect(operator.output not in given, "an output that is given already")
    if operator.kind == "GATHER" and inputs and inputs[0].data is not None:
        of_bytes = made.get(operator.inputs[1]) == "CAST" if len(inputs) > 1 else False
        expect(of_bytes, "places in a table that are no bytes")
    given.add(operator.output)
    made[operator.output] = operator.kind
    return apply(operator, inputs, file.tensors[operator.output])


def _check_tensor(tensor: Tensor) -> None:
    size = math.prod(tensor.shape)
    fits = 1 <= len(tensor.shape) <= LARGEST_RANK and min(tensor.shape) >= 1 and size <= MOST_ELEMENTS
    stored = tensor.data is None or len(tensor.data) == size * np.dtype(tensor.dtype).itemsize
    expect(fits and stored, f"the tensor {tensor.name!r} of shape {list(tensor.shape)}, or of other bytes")
    count, axis = len(tensor.scales), tensor.axis
    expect(count == len(tensor.zero_points), f"the tensor {tensor.name!r} with {count} scales and other zero points")
    if not count:
        expect(tensor.dtype in ("int32", "float32"), f"the tensor {tensor.name!r} without a scale")
        return
    along = 0 <= axis < len(tensor.shape) and count in (1, tensor.shape[axis])
    expect(along and (count == 1 or tensor.data is not None), f"{count} scales of the tensor {tensor.name!r}")
    low, high = _RANGES.get(tensor.dtype, (1, 0))
    within = bool((low <= tensor.zero_points).all() and (tensor.zero_points <= high).all())
    expect(within and (count == 1 or not tensor.zero_points.any()), f"a zero point of the tensor {tensor.name!r}")
    sound = bool(((tensor.scales >= _LEAST_SCALE) & (tensor.scales <= _LARGEST_SCALE)).all())  # no NaN either
    expect(sound, f"a scale of the tensor {tensor.name!r}")


def _check_images(file: LiteRtFile) -> None:
    expect(len(file.inputs) == 1, f"{len(file.inputs)} inputs, not one")
    images = file.tensors[file.inputs[0]]
    sides = images.shape[1:3]
    fits = images.data is None and images.dtype == "uint8" and len(images.shape) == 4
    fits = fits and (images.shape[0], images.shape[3]) == (1, 3) and max(sides) <= LARGEST_SIDE
    expect(fits, f"the input {images.name!r} of type {images.dtype} and shape {list(images.shape)}, no images")
