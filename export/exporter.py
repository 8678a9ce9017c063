"""From a student to an artifact: graph, integer coverage, parity with the student, files."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from efq.export.artifact.probe_face import probe_face
from efq.export.artifact.writer import write_artifact
from efq.export.changes import StudentChanges
from efq.export.coverage.report import CoverageReport
from efq.export.engine_settings import EngineSettings
from efq.export.surface import with_interface
from efq.export.targets.table import find_target
from efq.export.targets.target import ExportOptions, ExportTarget, Prepared
from efq.runtime.artifact.folder import MODEL_FILE
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.artifact.parity import UNCERTIFIED, ParityRecord
from efq.runtime.backends.answers import LENGTH_TOLERANCE
from efq.runtime.errors import ParityError, UsageError
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.files import temporary_folder
from efq.runtime.machine.versions import ONNXRUNTIME_PACKAGES, installed_versions
from efq.runtime.probe.probe import Probe
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.targets import find_target as find_row
from efq.toolchain.evaluation.figures.separation import refuse_collapsed
from efq.toolchain.networks import torch_embedding
from efq.toolchain.student import Student

ALIKE = "mean_cosine_of_different_images"
"""The key of parity.json's export check: near 1, agreement with the student would mean nothing."""

_CHECK_IMAGES = 8
_TOOLS = ("efq", "numpy", "onnx", "onnx-ir", *ONNXRUNTIME_PACKAGES, "torch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """What an export wrote: folder, manifest, coverage (None when no engine was built), parity, model bytes.

    changes: what the target asked of the student. engine: version, build seconds, plan bytes and layers of the engine
    built with it, for targets that have one.
    """

    directory: Path
    manifest: Manifest
    coverage: CoverageReport | None
    parity: Mapping[str, Any]
    changes: StudentChanges
    model_bytes: int
    engine: Mapping[str, Any] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence on each change that the target asked of the student."""
        return self.changes.notes

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "directory": str(self.directory),
            "model_bytes": self.model_bytes,
            "parity": dict(self.parity),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
            "engine": None if self.engine is None else dict(self.engine),
            "notes": list(self.notes),
        }


def export_student(
    student: Student,
    target: ExportTarget | str,
    directory: Path,
    *,
    bits: int,
    full_range: bool = False,
    name: str | None = None,
    allow_float: bool = False,
    force: bool = False,
    interface: Interface = USUAL,
    engine: EngineSettings | None = None,
    rehearsal: bool = False,
    uncertified: str | None = None,
    progress: ShowProgress = no_progress,
) -> Export:
    """Write the artifact of `student` for `target`, or that of such a name, into `directory`.

    `interface` is the graph's surface, `engine` for targets that build one. Where the target's products may saturate,
    weights of 8 bits are quantized anew to 7, whose products are exact on every CPU, unless `full_range`. In a
    `rehearsal` the student was not calibrated on faces, and its embeddings may all be the same. `uncertified`: why the
    artifact will have no certificate, which is kept with it.
    Raises UsageError when the student was not made for `bits` or `full_range`, or the folder is taken, CoverageError
    (exit 3) when multiply-adds run in float and `allow_float` is not given, ParityError when the artifact's embeddings
    are not the student's, or the student's are none or all the same; where an engine is built LintError for a graph
    that its runtime would refuse or run in float, EngineBuildError when none comes of it, MissingDependencyError or
    DeviceError when this machine cannot build one. Nothing is written then.
    """
    target = find_target(target) if isinstance(target, str) else target
    find_row(target.name)  # before any work: without its row an artifact could not be opened
    if engine is not None and not target.builds_engine:
        message = f"expected no engine settings for the target {target.name}, which builds no engine: leave them out"
        raise UsageError(message)
    target.check_interface(interface)
    check_bits(student, bits)
    images = check_images(student)
    alike: dict[str, Any] = {} if rehearsal else {ALIKE: check_student(student, images)}
    reason = {} if uncertified is None else {UNCERTIFIED: uncertified}
    options = ExportOptions(
        full_range=full_range,
        allow_float=allow_float,
        interface=interface,
        engine=engine or EngineSettings(),
        progress=progress,
    )
    prepared = target.prepare(student, images, options)
    model = with_interface(target.write(prepared.form), interface, student.contract)
    with temporary_folder("efq-export") as folder:
        checked = target.check(prepared, model, images, folder, options)
        parity = {**checked.parity, **alike}
        probe = make_probe(prepared, target, model, folder, options, rehearsal=rehearsal)
        manifest = make_manifest(prepared, target, checked.coverage, name, probe, interface)
        write_artifact(
            directory,
            model=model,
            manifest=manifest,
            training_hashes=student.training_hashes,
            training_pixel_hashes=student.training_pixel_hashes,
            training_near_hashes=student.training_near_hashes,
            parity=ParityRecord(export_check=parity | reason),
            force=force,
            probe=probe,
            add_files=checked.add_files,
        )
    return Export(
        directory=directory,
        manifest=manifest,
        coverage=checked.coverage,
        parity={**parity, **prepared.changes.requantized_entry},
        changes=prepared.changes,
        model_bytes=(directory / MODEL_FILE).stat().st_size,
        engine=checked.engine,
    )


def check_bits(student: Student, bits: int) -> None:
    """Raises UsageError when the student's weights were not made for `bits` bits; activations may have others.

    Where those of 8 bits use 7, either number may be said of them.
    """
    found, used = student.recipe.weight_bits, student.bits["weights"]
    if bits not in (found, used):
        described = f"{found}-bit weights" if used == found else f"{found}-bit weights, of which {used} bits are used"
        message = (
            f"expected a student with {bits}-bit weights for --bits {bits}, found {described}: distill one with a "
            f"recipe of weight_bits = {bits}, or export with --bits {found}"
        )
        raise UsageError(message)


def check_student(student: Student, images: NDArray[np.uint8]) -> float:
    """The mean cosine of the student's embeddings of different `images`, without which an agreement says nothing.

    Raises ParityError for embeddings that are not finite, zero, or all the same.
    """
    embeddings = torch_embedding(student.network, torch.device("cpu"))(images)
    return refuse_collapsed(embeddings, f"the student {student.backbone}", error_class=ParityError)


def check_images(student: Student) -> NDArray[np.uint8]:
    """A few smooth random images of the student's size, (8, H, W, 3): they exercise the graph, they are no faces."""
    generator = np.random.default_rng(0)
    height, width = student.contract.height, student.contract.width
    coarse = torch.from_numpy(generator.uniform(0, 255, (_CHECK_IMAGES, 3, 8, 8)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return smooth.permute(0, 2, 3, 1).round().byte().contiguous().numpy()


def make_probe(
    prepared: Prepared,
    target: ExportTarget,
    model: onnx.ModelProto,
    folder: Path,
    options: ExportOptions,
    *,
    rehearsal: bool = False,
) -> Probe | None:
    """The probe of an artifact; None for a target without, and in a rehearsal whose student gives no embedding of it.

    Raises ParityError for such a student otherwise.
    """
    image = probe_face(prepared.student.contract.height, prepared.student.contract.width)
    found = target.embed_probe(prepared, model, image[np.newaxis], folder, options)
    if found is None:
        return None
    if not abs(float(np.linalg.norm(found)) - 1) < LENGTH_TOLERANCE:  # NaN too
        if rehearsal:
            return None
        message = f"expected an embedding of the probe image from the student {prepared.student.backbone}, found none"
        raise ParityError(message)
    return Probe(image=image, embedding=found[0], least_cosine=target.probe_cosine)


def make_manifest(
    prepared: Prepared,
    target: ExportTarget,
    coverage: CoverageReport | None,
    name: str | None,
    probe: Probe | None = None,
    interface: Interface = USUAL,
) -> Manifest:
    """The manifest of an artifact of a student prepared for `target`."""
    student = prepared.student
    recipe = student.recipe.to_dict() | {
        "activations": dict(student.activations),
        "training": dict(student.training),
    }
    return Manifest(
        name=name or _name(student, target),
        target=target.name,
        bits=student.bits,
        backbone=student.backbone,
        recipe=recipe | prepared.changes.to_recipe(),
        input=student.contract,
        embedding_size=student.embedding_size,
        teacher=dict(student.teacher),
        data=dict(student.data),
        licence=student.licence,
        lineage=student.lineage.to_dict() or None,
        thresholds=dict(student.thresholds),
        coverage={} if coverage is None else coverage.to_dict(),
        tools=installed_versions((*_TOOLS, *find_row(target.name).packages)),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        probe=None if probe is None else probe.record(),
        interface=None if interface.is_usual else interface.to_dict(),
    )


def _name(student: Student, target: ExportTarget) -> str:
    return f"{student.backbone}-w{student.bits['weights']}a{student.bits['activations']}-{target.name}"
