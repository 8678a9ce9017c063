"""One way to embed faces with a teacher, a student file or an exported artifact."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from efq.runtime import Embedder, InputContract
from efq.runtime.artifact.folder import MODEL_FILE
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.cuda.seam import check_ordinal, device_ordinal
from efq.runtime.errors import CheckpointError, DeviceError, IncompatibleArtifactError, UsageError
from efq.runtime.reading import sha256_file
from efq.toolchain.checkpoints.other_files import refuse_foreign_folder
from efq.toolchain.checkpoints.torch_file import looks_like_torch_file, read_outline
from efq.toolchain.quantizers import set_enabled
from efq.toolchain.student import is_student, load_student
from efq.toolchain.teachers.formats import CHECKPOINT, find_format, open_teacher
from efq.toolchain.teachers.teacher import Teacher

_BATCH = 64


Kind = Literal["teacher", "student", "artifact"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingNetwork:
    """A network that embeds: `embed` maps uint8 (N, H, W, 3) RGB faces to float32 (N, d) of unit length.

    kind: as `network_kind` tells. training_hashes: the first 16 hexadecimal digits of the SHA-256 of each image it was
    fine-tuned on; empty for a teacher, whose training images are unknown. training_pixel_hashes: those of their pixels,
    training_near_hashes: as `TrainingData.near`; None where they are not known. backend: the runtime that computes an
    artifact, None for torch. teacher: None for other kinds. `close` frees what an artifact's runtime holds; `with` does
    so at its end.
    """

    kind: str
    name: str
    contract: InputContract
    path: Path
    sha256: str
    training_hashes: frozenset[str]
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    training_pixel_hashes: frozenset[str] | None = None
    training_near_hashes: bytes | None = None
    backend: str | None = None
    close: Callable[[], None] = lambda: None
    teacher: Teacher | None = None

    @property
    def training(self) -> tuple[frozenset[str], frozenset[str] | None, bytes | None]:
        """What is known of its training images, as `check_unseen` takes it."""
        return self.training_hashes, self.training_pixel_hashes, self.training_near_hashes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def open_network(
    path: Path,
    *,
    backbone: str | None = None,
    teacher_input: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    runtime: str = AUTOMATIC,
    quantized: bool = True,
) -> EmbeddingNetwork:
    """Open a teacher of any format, a student file or an artifact directory, to embed faces with it.

    `backbone` names the network of a teacher's file that does not say it, `teacher_input` what it was trained on
    (`open_teacher`). `device` None is the CPU,
    and for an artifact the device of its target. `threads` sets torch's thread count for the whole process, or the
    runtime's for an artifact, `runtime` chooses that on the CPU (`Embedder.open`'s backend). With `quantized` False
    a student's quantizers pass values through: what its other changes alone (pruning, ReLU for PReLU) cost. Raises
    CheckpointError, IncompatibleArtifactError, DeviceError, or UsageError for anything but a student that is not to
    be quantized.
    """
    kind = network_kind(path)
    if not quantized and kind != "student":
        message = f"expected a student file to leave its quantizers out, found {path}: name the student.pt"
        raise UsageError(message)
    if kind == "artifact":
        return _open_artifact(path, device, threads, runtime)
    target = torch_device(device or "cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    if kind == "student":
        return _open_student(path, target, quantized=quantized)
    return _open_teacher(path, backbone, teacher_input, target)


def network_kind(path: Path) -> Kind:
    """What is at `path`; a folder is taken for an artifact. Raises CheckpointError for a file that is no network."""
    if path.is_dir():
        refuse_foreign_folder(path, "an artifact")
        return "artifact"
    if _is_student(path):
        return "student"
    find_format(path)
    return "teacher"


def _is_student(path: Path) -> bool:
    if not looks_like_torch_file(path):
        return False
    try:
        outline = read_outline(path)
    except CheckpointError:
        if find_format(path) is CHECKPOINT:
            raise
        return False  # an archive of another format
    return isinstance(outline.content, dict) and is_student(outline.content)


def torch_device(name: str) -> torch.device:
    """The torch device `cpu`, `cuda` or `cuda:N`. Raises DeviceError when it is not there: never another instead.

    Raises UsageError for another name that begins with cuda.
    """
    if name == "cpu":
        return torch.device("cpu")
    if name.partition(":")[0] == "cuda" and torch.cuda.is_available():
        ordinal = device_ordinal(name)
        check_ordinal(ordinal, torch.cuda.device_count())
        return torch.device("cuda", ordinal)
    message = f"expected the device cpu, or a CUDA device that torch sees; found {name!r}, not available: use cpu"
    raise DeviceError(message)


def torch_embedding(network: nn.Module, device: torch.device) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Embed in batches with a torch network on `device`, in float32 as it is, without TF32."""
    network = network.to(device).eval()

    @torch.inference_mode()
    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = []
        with _without_tf32():
            for start in range(0, len(images), _BATCH):
                batch = torch.from_numpy(np.array(images[start : start + _BATCH])).to(device)
                parts.append(functional.normalize(network(batch).float(), dim=1).cpu().numpy())
        return np.concatenate(parts)

    return embed


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Convolutions on a GPU in float32, not in TF32, torch's default there: it would round integers times a scale."""
    cudnn: Any = torch.backends.cudnn
    convolutions = cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def _open_teacher(
    path: Path, backbone: str | None, teacher_input: str | None, device: torch.device
) -> EmbeddingNetwork:
    teacher = open_teacher(path, backbone, teacher_input)
    return EmbeddingNetwork(
        kind="teacher",
        name=teacher.name,
        contract=teacher.contract,
        path=path,
        sha256=teacher.sha256,
        training_hashes=frozenset(),
        embed=torch_embedding(teacher.normalized, device),
        teacher=teacher,
    )


def _open_student(path: Path, device: torch.device, *, quantized: bool) -> EmbeddingNetwork:
    student = load_student(path)
    pixels = student.training_pixel_hashes
    set_enabled(student.network, enabled=quantized)
    return EmbeddingNetwork(
        kind="student",
        name=f"{student.backbone} student ({student.recipe.name}{'' if quantized else ', float'})",
        contract=student.contract,
        path=path,
        sha256=sha256_file(path, expected="a student file"),
        training_hashes=frozenset(student.training_hashes),
        training_pixel_hashes=None if pixels is None else frozenset(pixels),
        training_near_hashes=student.training_near_hashes,
        embed=torch_embedding(student.network, device),
    )


def _open_artifact(path: Path, device: str | None, threads: int | None, runtime: str) -> EmbeddingNetwork:
    embedder = Embedder.open(path, device=device, threads=threads, backend=runtime)
    try:
        training = embedder.artifact.training_data()
    except IncompatibleArtifactError:
        embedder.close()
        raise
    return EmbeddingNetwork(
        kind="artifact",
        name=embedder.manifest.name,
        contract=embedder.contract,
        path=path,
        sha256=embedder.artifact.checksums[MODEL_FILE],
        training_hashes=training.files,
        training_pixel_hashes=training.pixels,
        training_near_hashes=training.near,
        embed=embedder.embed,
        backend=embedder.backend,
        close=embedder.close,
    )
