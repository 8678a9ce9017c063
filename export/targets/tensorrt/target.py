"""Export for TensorRT and TensorRT-RTX: symmetric form, graph, lint, parity, engine, coverage of its kernels."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from efq.export.changes import StudentChanges
from efq.export.coverage.report import CoverageReport
from efq.export.engine_settings import EngineSettings
from efq.export.references.float16 import Float16Reference
from efq.export.targets.target import Checked, ExportOptions, ExportTarget, Prepared
from efq.export.targets.tensorrt.engine_coverage import engine_coverage
from efq.export.targets.tensorrt.graph import build_tensorrt_model
from efq.export.targets.tensorrt.layer_parity import layer_parity
from efq.export.targets.tensorrt.lint import check
from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.runtime.artifact.folder import ENGINE_FOLDER, MODEL_FILE
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.cuda.seam import open_cuda
from efq.runtime.errors import DeviceError, MissingDependencyError
from efq.runtime.files import atomic_write_text
from efq.runtime.tensorrt.build.builder import BuiltEngine, build_engine
from efq.runtime.tensorrt.engine_cache import fingerprint_of, write_engine, write_options
from efq.runtime.tensorrt.fingerprint import EngineMachine
from efq.runtime.tensorrt.module import find_package
from efq.runtime.tensorrt.open import machine_of
from efq.toolchain.networks import torch_embedding
from efq.toolchain.student import Student

LAYERS_FILE = "layers.json"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorRTTarget(ExportTarget):
    """An artifact without an engine holds the options to build it with; its coverage is not measured then."""

    opset: int = 19
    ir_version: int = 9
    builds_engine: bool = True
    has_interfaces: bool = True

    def prepare(self, student: Student, images: NDArray[np.uint8], options: ExportOptions) -> Prepared:
        """Raises MissingDependencyError or DeviceError, too, when this machine cannot build the engine asked for."""
        if options.engine.build:
            self._machine_to_build_on(options.engine)
        self.refuse_full_range(options)
        form, requantized = symmetric_form(student, images)
        return Prepared(student=student, form=form, changes=StudentChanges(requantized=requantized))

    def write(self, form: Student) -> onnx.ModelProto:
        return build_tensorrt_model(form, opset=self.opset, ir_version=self.ir_version)

    def check(
        self,
        prepared: Prepared,
        model: onnx.ModelProto,
        images: NDArray[np.uint8],
        folder: Path,
        options: ExportOptions,
    ) -> Checked:
        """Raises LintError, too, for a graph TensorRT would refuse or run in float, EngineBuildError without engine."""
        capabilities = options.engine.options.compute_capabilities
        for finding in check(model, target=self.name, compute_capabilities=capabilities):
            _logger.info("lint: %s", finding)
        parity = layer_parity(prepared.form, model, images, options.interface)
        parity.check()
        if not options.engine.build:
            return Checked(
                parity=parity.to_dict(),
                coverage=None,
                add_files=lambda artifact: write_options(artifact / ENGINE_FOLDER, options.engine.options),
            )
        built, coverage = self._build(model, folder, options)
        report = _report(built)
        machine = self._machine_to_build_on(options.engine)

        def add_engine(artifact: Path) -> None:
            fingerprint = fingerprint_of(built, self.name, artifact / MODEL_FILE, options.engine.options, machine)
            write_engine(artifact / ENGINE_FOLDER, built, fingerprint)
            atomic_write_text(artifact / ENGINE_FOLDER / LAYERS_FILE, json.dumps(report, indent=1) + "\n")

        return Checked(parity=parity.to_dict(), coverage=coverage, engine=report, add_files=add_engine)

    def embed_probe(
        self,
        prepared: Prepared,
        model: onnx.ModelProto,
        images: NDArray[np.uint8],
        folder: Path,
        options: ExportOptions,
    ) -> NDArray[np.float32] | None:
        """By the reference: an artifact may be written where there is no GPU, and for one of another kind."""
        return torch_embedding(Float16Reference(prepared.form), torch.device("cpu"))(images)

    def bit_sentences(self, manifest: Manifest) -> list[str]:
        sentences = []
        if manifest.bits["weights"] < 8:
            sentences.append("Weights of fewer than 8 bits lie in int8 tensors here: neither smaller nor faster.")
        return sentences + super().bit_sentences(manifest)

    def card_sentences(self, manifest: Manifest) -> list[str]:
        return [
            "The engine in `engine/` is for one TensorRT version and the GPUs its fingerprint names; elsewhere open "
            "the folder with `rebuild=True`, which builds it again from `model.onnx`."
        ]

    def _build(
        self, model: onnx.ModelProto, folder: Path, options: ExportOptions
    ) -> tuple[BuiltEngine, CoverageReport]:
        path = folder / MODEL_FILE
        path.write_bytes(model.SerializeToString())
        engine = options.engine
        built = build_engine(
            self.name,
            path,
            folder,
            engine.options,
            device=engine.device,
            timing_cache=engine.timing_cache,
            progress=options.progress,
        )
        runtime = f"{find_package(self.name).module} {built.version}, layers of the engine"
        coverage = engine_coverage(model, built.layers, runtime=runtime)
        coverage.check(allow_float=options.allow_float)
        return built, coverage

    def _machine_to_build_on(self, engine: EngineSettings) -> EngineMachine | None:
        """The GPU that the engine is built on; None for a package that builds ahead of time and needs none."""
        try:
            package = find_package(self.name)
            module = package.load()
            return None if package.builds_ahead else machine_of(module, open_cuda(engine.device))
        except (MissingDependencyError, DeviceError) as error:
            message = (
                f"{error}; or write the artifact without its engine (--no-engine) and build that on the machine with "
                "the GPU (--rebuild)"
            )
            raise type(error)(message) from error


def _report(built: BuiltEngine) -> Mapping[str, Any]:
    """Per layer the kernel, what it reads and writes, and the ONNX nodes it came from."""
    return {
        "version": built.version,
        "build_seconds": round(built.seconds, 1),
        "plan_bytes": built.plan.stat().st_size,
        "layers": [dataclasses.asdict(layer) for layer in built.layers],
    }


TRT = TensorRTTarget(
    name="trt",
    triton_backend="tensorrt",
    description="TensorRT 10 and 11 on NVIDIA GPUs: int8 activations with zero point 0, int8 weights per channel, "
    "float16 in between; the engine is built on the GPU it runs on",
)
TRT_RTX = TensorRTTarget(
    name="trt-rtx",
    description="TensorRT-RTX on NVIDIA RTX GPUs: the same graph; the engine is built on any machine for named GPUs",
)
