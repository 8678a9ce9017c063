"""The student file: a lowered network that describes itself in plain values and tensors."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.training_data import NEAR_BYTES, NEAR_SCHEME, PIXEL_SCHEME
from efq.runtime.errors import CheckpointError, SchemaError, UsageError
from efq.runtime.files import atomic_write_bytes
from efq.runtime.lineage.lineage import Lineage
from efq.runtime.reading import sha256_file
from efq.toolchain.backbones.checkpoint import read_checkpoint
from efq.toolchain.checkpoints.fit import shown
from efq.toolchain.graph.description import describe_graph, plain_values
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student_record import check_student_record, load_network

FORMAT = "efq-student"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """A quantized network and where it came from.

    network: uint8 (N, H, W, 3) images -> float32 (N, embedding_size) raw embeddings.
    backbone, recipe: the teacher's network and the recipe the student was made with.
    teacher: {"name", "sha256", "licence"}; data: {"images", "identities", "sha256", "licence"} of the fine-tuning
    faces, with 0 images for a student that was only calibrated.
    thresholds: {"1e-3": cosine threshold, ...} on the fine-tuning faces.
    training_hashes: the first 16 hexadecimal digits of the SHA-256 of each fine-tuning image.
    training_pixel_hashes: those of its pixels; training_near_hashes: as `TrainingData.near`. None where they are not
    known.
    notes: what lowering changed; training: steps, seconds and final losses. lineage: what else is known of its origin,
    with the hash of the file that it was loaded from.
    """

    network: fx.GraphModule
    backbone: str
    recipe: Recipe
    contract: InputContract
    embedding_size: int
    teacher: Mapping[str, str]
    data: Mapping[str, Any]
    activations: Mapping[str, str]
    notes: tuple[str, ...]
    training: Mapping[str, Any]
    thresholds: Mapping[str, float]
    training_hashes: tuple[str, ...]
    training_pixel_hashes: tuple[str, ...] | None = None
    training_near_hashes: bytes | None = None
    lineage: Lineage = dataclasses.field(default_factory=Lineage)

    @property
    def widest_weight_bits(self) -> int:
        """Of the widest grid that any weights are on; 0 where none has a quantizer."""
        quantizers = (module for module in self.network.modules() if isinstance(module, WeightQuantizer))
        return max((quantizer.bits for quantizer in quantizers), default=0)

    @property
    def licence(self) -> str:
        """What it was labelled with, or what it inherits of its teacher and the faces."""
        return self.lineage.licence(teacher=self.teacher["licence"], data=self.data["licence"])

    @property
    def bits(self) -> dict[str, int]:
        """Of the grids that most "weights" and "activations" are on."""
        weights = self.recipe.weight_bits
        return {
            "weights": min(weights, self.widest_weight_bits or weights),
            "activations": self.recipe.activation_bits,
        }


_PLAIN = ("backbone", "embedding_size", "teacher", "data", "activations", "training", "thresholds")


def save_student(student: Student, path: Path, *, replace: bool = True) -> None:
    """Write the file in one step (beside, then renamed). Raises UsageError where it cannot be, or is there already."""
    content = {key: plain_values(getattr(student, key)) for key in _PLAIN}
    content |= {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "recipe": plain_values(student.recipe.to_dict()),
        "contract": student.contract.to_dict(),
        "notes": list(student.notes),
        "lineage": {key: value for key, value in student.lineage.to_dict().items() if key != "student_sha256"},
        "graph": describe_graph(student.network),
        "weights": {key: value.detach().cpu() for key, value in student.network.state_dict().items()},
        "training_hashes": _pack_hashes(student.training_hashes),
    }
    if student.training_pixel_hashes is not None:
        hashes = _pack_hashes(student.training_pixel_hashes)
        content["training_pixels"] = {"scheme": PIXEL_SCHEME, "hashes": hashes}
    if student.training_near_hashes is not None:
        content["training_near"] = {"scheme": NEAR_SCHEME, "hashes": _rows(student.training_near_hashes, NEAR_BYTES)}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    atomic_write_bytes(path, buffer.getvalue(), replace=replace)


def is_student(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's content is a student file."""
    form = content.get("format")
    return isinstance(form, str) and form == FORMAT


def load_student(path: Path) -> Student:
    """Read a student file. Raises CheckpointError when it is none, truncated, or of another schema."""
    content = read_checkpoint(path)
    if not is_student(content):
        message = (
            f"expected a student file made by efq-distill at {path}, found a checkpoint with the keys {shown(content)}"
        )
        raise CheckpointError(message)
    version = content.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        message = (
            f"{path} has student schema {version!r}, this EFQ reads {SCHEMA_VERSION}: "
            "make it again with efq-distill, or install the EFQ that made it"
        )
        raise CheckpointError(message)
    try:
        check_student_record(content)
        contract = InputContract.from_dict(content["contract"])
        return Student(
            network=load_network(content["graph"], content["weights"], contract, content["embedding_size"]),
            recipe=Recipe.from_dict(content["recipe"]),
            contract=contract,
            notes=tuple(content["notes"]),
            training_hashes=_unpack_hashes(content["training_hashes"]),
            training_pixel_hashes=_pixel_hashes(content.get("training_pixels")),
            training_near_hashes=_near_hashes(content.get("training_near")),
            lineage=_lineage(content, path),
            **{key: content[key] for key in _PLAIN},
        )
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, SchemaError, UsageError) as error:
        message = f"{path} is not a complete student file ({error}): make it again with efq-distill"
        raise CheckpointError(message) from error


def _lineage(content: Mapping[str, Any], path: Path) -> Lineage:
    """That of the file's content, empty in older ones, with the file's own hash."""
    recorded = Lineage.from_dict(content.get("lineage", {}))
    return dataclasses.replace(recorded, student_sha256=sha256_file(path, expected="a student file"))


def _pack_hashes(hashes: tuple[str, ...]) -> Tensor:
    """(N, 8) uint8."""
    return _rows(b"".join(bytes.fromhex(value) for value in hashes), 8)


def _rows(data: bytes, width: int) -> Tensor:
    """(N, width) uint8."""
    return torch.tensor(list(data), dtype=torch.uint8).reshape(-1, width)


def _pixel_hashes(record: Any) -> tuple[str, ...] | None:
    """Those of a checked record; None without one, or of a scheme that another version of EFQ made."""
    if record is None or record["scheme"] != PIXEL_SCHEME:
        return None
    return _unpack_hashes(record["hashes"])


def _near_hashes(record: Any) -> bytes | None:
    """As `_pixel_hashes`."""
    if record is None or record["scheme"] != NEAR_SCHEME:
        return None
    return bytes(record["hashes"].contiguous().numpy().tobytes())


def _unpack_hashes(packed: Tensor) -> tuple[str, ...]:
    return tuple(bytes(row).hex() for row in packed.tolist())
