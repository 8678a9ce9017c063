"""INT8, FP16 and FP32 engines of one network on a GPU: built, opened, and timed in turn."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.engines.engine_sources import EngineSource, artifact_engine, float_engine
from efq.benchmarks.engines.gpu import describe_gpu, read_clocks
from efq.benchmarks.engines.gpu_results import EngineRecord, GpuResults, GpuSetting, GpuTime
from efq.benchmarks.engines.gpu_target import GpuTarget
from efq.benchmarks.engines.open_engines import DeviceClock, DeviceTimed, OpenEngines, TensorRTPeer
from efq.benchmarks.engines.teacher_graph import Precision
from efq.benchmarks.peers.float_teacher import FloatTeacher
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import Candidate
from efq.benchmarks.timing.latency import draw_batches, time_in_turn
from efq.runtime import Manifest
from efq.runtime.artifact.folder import ENGINE_FOLDER
from efq.runtime.cuda.seam import open_cuda
from efq.runtime.errors import UsageError
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import read_options
from efq.runtime.tensorrt.module import import_tensorrt

FLOAT_PRECISIONS: tuple[Precision, ...] = ("float32", "float16")

_logger = logging.getLogger(__name__)


class EngineBench:
    """The engines of a benchmark, as candidates to compare; a context manager that closes them."""

    def __init__(
        self,
        target: GpuTarget,
        artifacts: Mapping[str, Path],
        manifests: Sequence[Manifest],
        batches: Sequence[int],
        *,
        progress: ShowProgress = no_progress,
    ) -> None:
        """Check that the artifacts, by name, can be timed at `batches` on this GPU; nothing is built or opened yet.
        `progress` shows builds.

        Raises UsageError for artifacts of another target or of different build options, or a batch outside their
        profile, EngineError without build options, MissingDependencyError without TensorRT, DeviceError without a GPU.
        """
        _check_targets(target.name, artifacts, manifests)
        self._options = _common_options(artifacts)
        _check_batches(batches, self._options)
        self._target, self._artifacts, self._manifests, self._batches = target, artifacts, manifests, batches
        self._progress = progress
        self._module = import_tensorrt(target.name)
        self._cuda = open_cuda(target.device)
        self._stack = contextlib.ExitStack()
        self._engines = OpenEngines()
        self._records: list[EngineRecord] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def candidates(self, teacher: FloatTeacher, network: str, folder: Path) -> list[Candidate]:
        """The float32 engine, the reference of every ratio, the float16 one and the artifacts', all open.

        The float engines are built into `folder` from the graph of `teacher`, with the artifacts' build options;
        `network` is what it is called. Raises what building and opening raise.
        """
        sources = [*self._float_engines(teacher, network, folder), *self._artifact_engines()]
        # Once for nothing: what CUDA and TensorRT take for themselves with the first engine is no engine's memory.
        with sources[0].open() as model:
            model.run(self._blank_images())
        return [self._candidate(source) for source in sources]

    def measure(self, images: NDArray[np.uint8], *, rounds: int, seconds: float) -> GpuResults:
        """GPU time of every engine at every batch size on `images`; `seconds` limits the GPU time of a batch size."""
        identifier = self._cuda.properties().nvidia_smi_id
        settings = []
        for batch in self._batches:
            _logger.info("GPU time, batch %d: up to %d rounds", batch, rounds)
            clock = DeviceClock()
            timed = {peer.name: DeviceTimed(peer, clock) for peer in self._engines.peers}
            times = time_in_turn(timed, draw_batches(images, batch), rounds=rounds, seconds=seconds, clock=clock)
            clocks = read_clocks(identifier)
            networks = tuple(gpu_time(name, values, batch) for name, values in times.items())
            settings.append(GpuSetting(batch=batch, clocks=clocks, networks=networks))
        return GpuResults(
            machine=describe_gpu(self._cuda, self._module), engines=tuple(self._records), settings=tuple(settings)
        )

    def _float_engines(self, teacher: FloatTeacher, network: str, folder: Path) -> list[EngineSource]:
        sources = []
        for precision in FLOAT_PRECISIONS:
            name = f"{network} {precision} (TensorRT)"
            _logger.info("%s: building its engine", name)
            sources.append(
                float_engine(
                    precision,
                    teacher,
                    folder / precision,
                    name=name,
                    target=self._target.name,
                    options=self._options,
                    contract=self._manifests[0].input,
                    cuda=self._cuda,
                    progress=self._progress,
                )
            )
        return sources

    def _artifact_engines(self) -> list[EngineSource]:
        return [
            artifact_engine(
                directory,
                manifest,
                name=name,
                device=self._target.device,
                rebuild=self._target.rebuild,
                progress=self._progress,
            )
            for (name, directory), manifest in zip(self._artifacts.items(), self._manifests, strict=True)
        ]

    def _candidate(self, source: EngineSource) -> Candidate:
        """Open an engine, measure what that takes of the GPU's memory, and leave it open."""
        before = self._free_memory()
        model = self._stack.enter_context(source.open())
        model.run(self._blank_images())
        taken = max(before - self._free_memory(), 0)
        size = source.plan.stat().st_size
        peer = TensorRTPeer(source.name, model, plan_bytes=size)
        self._engines.peers.append(peer)
        self._records.append(
            EngineRecord(
                network=source.name,
                precision=source.precision,
                plan_bytes=size,
                device_bytes=taken,
                products=source.products,
            )
        )
        return Candidate(
            spec=PeerSpec(name=source.name, kind=self._engines.name, path=str(source.plan), precision=source.precision),
            opener=self._engines,
            description=source.description,
            is_float=source.precision != "int8",
        )

    def _blank_images(self) -> NDArray[np.uint8]:
        contract = self._manifests[0].input
        return np.zeros((max(self._batches), contract.height, contract.width, 3), np.uint8)

    def _free_memory(self) -> int:
        with self._cuda.current_device():
            return self._cuda.free_memory()


def gpu_time(network: str, seconds: Sequence[float], batch: int) -> GpuTime:
    """The statistics of one engine's GPU times at one batch size."""
    milliseconds = np.asarray(seconds, np.float64) * 1e3
    low, middle, high = (float(value) for value in np.percentile(milliseconds, [25, 50, 75]))
    return GpuTime(
        network=network,
        batch=batch,
        rounds=len(milliseconds),
        p25_ms=low,
        p50_ms=middle,
        p75_ms=high,
        images_per_second=float(batch * 1e3 / milliseconds.mean()),
    )


def _check_targets(target: str, artifacts: Mapping[str, Path], manifests: Sequence[Manifest]) -> None:
    others = [
        f"{directory} ({manifest.target})"
        for directory, manifest in zip(artifacts.values(), manifests, strict=True)
        if manifest.target != target
    ]
    if others:
        found = ", ".join(others)
        message = f"expected artifacts for the target {target}, found {found}; export them with --target {target}"
        raise UsageError(message)


def _common_options(artifacts: Mapping[str, Path]) -> BuildOptions:
    """The artifacts' build options. Raises UsageError when they differ: only like engines can be compared."""
    options = {directory: read_options(directory / ENGINE_FOLDER) for directory in artifacts.values()}
    first, *others = options.items()
    different = [str(directory) for directory, found in others if found != first[1]]
    if different:
        message = (
            f"expected artifacts with the build options of {first[0]}, found others in {', '.join(different)}; "
            "export them alike, or time them apart"
        )
        raise UsageError(message)
    return first[1]


def _check_batches(batches: Sequence[int], options: BuildOptions) -> None:
    least, _, largest = options.batches
    wrong = [batch for batch in batches if not least <= batch <= largest]
    if wrong:
        message = (
            f"expected batch sizes from {least} to {largest}, the profile of the artifact's engine, found "
            f"{', '.join(map(str, wrong))}; choose others, or export it with another --batch"
        )
        raise UsageError(message)
