"""What is compared: the service with micro-batching and without, on the artifact and on its float teacher."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.serving.processes import ServiceProcess, started
from efq.runtime.artifact.folder import Artifact

SERVE = "efq.runtime.service.serve_command"
FLOAT = "efq.benchmarks.serving.float_service"

BATCHED, SINGLE, FLOAT_BATCHED = "artifact, batches of 8", "artifact, one by one", "float teacher, batches of 8"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A service that is measured. model: its name under /v2."""

    name: str
    model: str
    service: ServiceProcess


@contextlib.contextmanager
def open_variants(
    directory: Path,
    teacher: Path | None,
    folder: Path,
    chosen: frozenset[int],
    *,
    backend: str,
    threads: int = 1,
) -> Iterator[list[Variant]]:
    """All services, idle, on the same cores. folder: for the teacher's float network. backend: of the artifact."""
    model = Artifact.open(directory).manifest.name
    common = [str(directory), "--threads", str(threads), "--backend", backend]
    with contextlib.ExitStack() as running:
        variants = [
            Variant(
                name=name,
                model=model,
                service=running.enter_context(started(SERVE, [*common, "--batch", str(batch)], chosen)),
            )
            for name, batch in ((BATCHED, 8), (SINGLE, 1))
        ]
        if teacher is not None:
            arguments = _float_arguments(directory, teacher, folder)
            service = running.enter_context(started(FLOAT, [*arguments, "--threads", str(threads)], chosen))
            variants.append(Variant(name=FLOAT_BATCHED, model=model, service=service))
        yield variants


def _float_arguments(directory: Path, teacher: Path, folder: Path) -> list[str]:
    from efq.benchmarks.peers.float_teacher import export_teacher

    contract = Artifact.open(directory).manifest.input
    exported = export_teacher(teacher, folder / "teacher.onnx", name="teacher", contract=contract)
    return [str(directory), str(exported.path), json.dumps(dataclasses.asdict(exported.normalization))]


def faces_to_send(root: Path | None, count: int) -> NDArray[np.uint8]:
    """Faces to send, uint8 (count, 112, 112, 3): of a folder, or drawn ones."""
    if root is None:
        from efq.benchmarks.drawn_faces.batch import drawn_faces

        return drawn_faces(count)
    from efq.toolchain.data import draw_images, open_faces

    return draw_images(open_faces(root, max_images=4 * count), count, 0)
