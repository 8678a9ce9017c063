"""From a student to an artifact for TensorRT: symmetric form, graph, lint, parity, engine, coverage of its kernels."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efq.export.artifact.writer import write_artifact
from efq.export.coverage.report import CoverageReport
from efq.export.exporter import Export, check_bits, check_images, make_manifest
from efq.export.reduced_range import weights_for
from efq.export.targets import TargetProfile
from efq.export.targets.tensorrt.engine_coverage import engine_coverage
from efq.export.targets.tensorrt.graph import build_tensorrt_model
from efq.export.targets.tensorrt.layer_parity import layer_parity
from efq.export.targets.tensorrt.lint import check
from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.runtime.artifact.folder import ENGINE_FOLDER, MODEL_FILE
from efq.runtime.artifact.parity import ParityRecord
from efq.runtime.console import log
from efq.runtime.cuda.seam import open_cuda
from efq.runtime.errors import DeviceError, MissingDependencyError
from efq.runtime.files import atomic_write_text
from efq.runtime.tensorrt.build.builder import BuiltEngine, build_engine
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import fingerprint_of, write_engine, write_options
from efq.runtime.tensorrt.fingerprint import Machine
from efq.runtime.tensorrt.module import import_tensorrt
from efq.runtime.tensorrt.open import machine_of
from efq.toolchain.student import Student

LAYERS_FILE = "layers.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The engine of an export: its options, whether to build it now, the timing cache and GPU `trt` builds with."""

    options: BuildOptions = dataclasses.field(default_factory=BuildOptions)
    build: bool = True
    timing_cache: Path | None = None
    device: str = "cuda:0"


def export_for_tensorrt(
    student: Student,
    profile: TargetProfile,
    directory: Path,
    *,
    bits: int,
    engine: EngineSettings,
    full_range: bool = False,
    name: str | None = None,
    allow_float: bool = False,
    force: bool = False,
) -> Export:
    """Write the artifact of `student` for `trt` or `trt-rtx` into `directory`, with its engine if asked for.

    An artifact without an engine holds the options to build it with; its coverage is not measured then.
    Raises what `export_student` raises, LintError for a graph that TensorRT would refuse or run in float,
    EngineBuildError when no engine comes of it, MissingDependencyError or DeviceError when this machine cannot build
    one. Nothing is written then.
    """
    check_bits(student, bits)
    machine = _machine_to_build_on(profile.name, engine.device) if engine.build else None
    images = check_images(student)
    student, _ = weights_for(student, profile, images, full_range=full_range)
    form, requantized = symmetric_form(student, images)
    model = build_tensorrt_model(form, profile)
    for finding in check(model, target=profile.name, compute_capabilities=engine.options.compute_capabilities):
        log(f"lint: {finding}")
    parity = layer_parity(form, model, images)
    parity.check()
    coverage: CoverageReport | None = None
    report: dict[str, Any] | None = None
    with tempfile.TemporaryDirectory(prefix="efq-export-") as temporary:
        folder = Path(temporary)
        built: BuiltEngine | None = None
        if engine.build:
            (folder / MODEL_FILE).write_bytes(model.SerializeToString())
            built = build_engine(
                profile.name,
                folder / MODEL_FILE,
                folder,
                engine.options,
                device=engine.device,
                timing_cache=engine.timing_cache,
            )
            runtime = f"{import_tensorrt(profile.name).__name__} {built.version}, layers of the engine"
            coverage = engine_coverage(model, built.layers, runtime=runtime)
            coverage.check(allow_float=allow_float)
            report = _report(built)

        def add_engine(artifact: Path) -> None:
            target = artifact / ENGINE_FOLDER
            if built is None:
                write_options(target, engine.options)
                return
            fingerprint = fingerprint_of(built, profile.name, artifact / MODEL_FILE, engine.options, machine)
            write_engine(target, built, fingerprint)
            atomic_write_text(target / LAYERS_FILE, json.dumps(report, indent=1) + "\n")

        changes = None if requantized is None else requantized.to_dict()
        manifest = make_manifest(student, profile, coverage, name, changes)
        write_artifact(
            directory,
            model=model,
            manifest=manifest,
            training_hashes=student.training_hashes,
            parity=ParityRecord(export_check=parity.to_dict()),
            force=force,
            add_files=add_engine,
        )
    size = (directory / MODEL_FILE).stat().st_size
    checked: Mapping[str, Any] = parity.to_dict() | ({} if changes is None else {"requantized": changes})
    notes = () if requantized is None else (str(requantized),)
    return Export(
        directory=directory,
        manifest=manifest,
        coverage=coverage,
        parity=checked,
        model_bytes=size,
        engine=report,
        notes=notes,
    )


def _machine_to_build_on(target: str, device: str) -> Machine | None:
    """The GPU that `trt` builds on; `trt-rtx` builds ahead of time and needs none."""
    try:
        module = import_tensorrt(target)
        return None if hasattr(module, "ComputeCapability") else machine_of(module, open_cuda(device))
    except (MissingDependencyError, DeviceError) as error:
        message = (
            f"{error}; or write the artifact without its engine (--no-engine) and build that on the machine with the "
            "GPU (--rebuild)"
        )
        raise type(error)(message) from error


def _report(built: BuiltEngine) -> dict[str, Any]:
    """Per layer the kernel, what it reads and writes, and the ONNX nodes it came from."""
    return {
        "version": built.version,
        "build_seconds": round(built.seconds, 1),
        "plan_bytes": built.plan.stat().st_size,
        "layers": [dataclasses.asdict(layer) for layer in built.layers],
    }
