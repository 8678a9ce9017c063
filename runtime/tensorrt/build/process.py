"""Build one engine, alone in a process: a bad graph can crash TensorRT's builder, and then only this process.

`python -m efq.runtime.tensorrt.build.process` reads one JSON request from stdin and writes JSON lines to stdout: any
number of {"phase", "steps"} and {"step"}, then {"done"} or {"error"}. Every message of TensorRT goes to the log file.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

from efq.runtime.cleanup import end_with_parent
from efq.runtime.cuda.seam import open_cuda
from efq.runtime.errors import DeviceError, EfqError, EngineBuildError, UsageError
from efq.runtime.files import atomic_write_bytes
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.module import TensorRTPackage, find_package


def main() -> None:
    """Serve one request; whatever goes wrong on purpose is an {"error"}."""
    end_with_parent()
    request = json.load(sys.stdin)
    try:
        with Path(request["log"]).open("w", encoding="utf-8") as log:
            package = find_package(request["target"])
            package.load()
            with _on_device(package, request["device"]):
                result = _build(package, request, BuildOptions.from_dict(request["options"]), log)
    except EfqError as error:
        _tell({"error": str(error), "kind": type(error).__name__})
        return
    except Exception as error:  # TensorRT's bindings raise TypeError, RuntimeError and their own
        _tell({"error": f"TensorRT failed with {type(error).__name__}: {error}", "kind": EngineBuildError.__name__})
        return
    _tell({"done": result})


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _on_device(package: TensorRTPackage, device: str) -> AbstractContextManager[None]:
    """TensorRT builds for the GPU that is current; TensorRT-RTX builds ahead of time and needs none."""
    return nullcontext() if package.builds_ahead else open_cuda(device).current_device()


def _build(package: TensorRTPackage, request: dict[str, Any], options: BuildOptions, log: IO[str]) -> dict[str, Any]:
    tensorrt = package.load()
    logger = _logger(tensorrt, log)
    builder = _builder(tensorrt, logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(request["onnx"]):
        reasons = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
        message = f"{tensorrt.__name__} {tensorrt.__version__} does not take the graph: {reasons}"
        raise EngineBuildError(message)
    config = builder.create_builder_config()
    _configure(tensorrt, config, options)
    _choose_gpus(package, config, options)
    config.add_optimization_profile(_profile(builder, network, options))
    if hasattr(config, "progress_monitor"):
        config.progress_monitor = _monitor(tensorrt)
    timing_cache = _set_timing_cache(package, config, request["timing_cache"])
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        message = f"{tensorrt.__name__} {tensorrt.__version__} built no engine: {logger.last_error}"
        raise EngineBuildError(message)
    Path(request["plan"]).write_bytes(memoryview(plan))
    if timing_cache is not None:
        atomic_write_bytes(Path(request["timing_cache"]), bytes(config.get_timing_cache().serialize()))
    # The inspector loads the engine; of one built ahead, perhaps for another GPU, the log lists the layers.
    inspected = not package.builds_ahead and _inspect(tensorrt, logger, plan, request)
    return {"version": str(tensorrt.__version__), "inspected": inspected}


def _builder(tensorrt: Any, logger: Any) -> Any:
    try:
        return tensorrt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # TypeError: the factory gave a null pointer
        message = (
            f"expected a GPU and driver that {tensorrt.__name__} {tensorrt.__version__} can build on, found none "
            f"({logger.last_error}); see efq-doctor"
        )
        raise DeviceError(message) from error


def _configure(tensorrt: Any, config: Any, options: BuildOptions) -> None:
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED  # without it no layer says its types
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # on by default: it drops 13 bits of what a graph says is float32
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.level is not None:
        config.builder_optimization_level = options.level


def _choose_gpus(package: TensorRTPackage, config: Any, options: BuildOptions) -> None:
    """Which GPUs and versions may load the engine. Raises UsageError for what the package does not offer."""
    tensorrt = package.load()
    if package.builds_ahead and (options.version_compatible or options.hardware_compatible):
        message = (
            f"{tensorrt.__name__} builds for named GPUs and its own version only: use --compute-capability instead of "
            "version- or hardware-compatible engines"
        )
        raise UsageError(message)
    if options.version_compatible:
        config.set_flag(tensorrt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = tensorrt.HardwareCompatibilityLevel.AMPERE_PLUS
    if package.builds_ahead:
        _choose_capabilities(tensorrt, config, options.compute_capabilities)
    elif options.compute_capabilities:
        message = (
            f"{tensorrt.__name__} builds for the GPU of this machine: expected no --compute-capability, found "
            f"{', '.join(options.compute_capabilities)}; use --target trt-rtx for engines built ahead of time"
        )
        raise UsageError(message)


def _choose_capabilities(tensorrt: Any, config: Any, wanted: tuple[str, ...]) -> None:
    known = {_capability(name): value for name, value in tensorrt.ComputeCapability.__members__.items()}
    unknown = [value for value in wanted if value not in known]
    if unknown:
        supported = ", ".join(name for name in known if name)
        message = f"{tensorrt.__name__} builds for compute capabilities {supported}; found {', '.join(unknown)}"
        raise UsageError(message)
    if wanted:
        config.num_compute_capabilities = len(wanted)
        for index, value in enumerate(wanted):
            config.set_compute_capability(known[value], index)


def _capability(name: str) -> str:
    """SM86 -> 8.6; empty for members that name no GPU."""
    digits = name.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}" if digits.isdigit() else ""


def _profile(builder: Any, network: Any, options: BuildOptions) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, *[(size, *rest) for size in options.batches])
    return profile


def _set_timing_cache(package: TensorRTPackage, config: Any, path: str | None) -> Any:
    if path is None:
        return None
    if package.builds_ahead:
        message = f"{package.module} has no timing cache (its kernels are chosen on the GPU): leave it out"
        raise UsageError(message)
    content = Path(path).read_bytes() if Path(path).is_file() else b""
    cache = config.create_timing_cache(content)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        message = f"expected a timing cache of this TensorRT and GPU at {path}, found another: delete it"
        raise UsageError(message)
    return cache


def _inspect(tensorrt: Any, logger: Any, plan: Any, request: dict[str, Any]) -> bool:
    """Write the engine inspector's JSON; False where no GPU is there to load the engine."""
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        return False
    text = engine.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON)
    Path(request["layers"]).write_text(text, encoding="utf-8")
    return True


def _logger(tensorrt: Any, log: IO[str]) -> Any:
    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self.last_error = "no reason given"

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.ILogger.Severity.ERROR, tensorrt.ILogger.Severity.INTERNAL_ERROR):
                self.last_error = message.strip()
            log.write(f"[{severity.name}] {message}\n")
            log.flush()

    return Logger()


def _monitor(tensorrt: Any) -> Any:
    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            _tell({"phase": name, "steps": steps})

        def step_complete(self, name: str, step: int) -> bool:
            _tell({"step": name})
            return True  # go on

        def phase_finish(self, name: str) -> None:
            return

    return Monitor()


if __name__ == "__main__":
    main()
