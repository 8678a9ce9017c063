"""The engines to compare on a GPU: an artifact's own, and the float teacher's in float32 and float16."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from efq.benchmarks.engines.teacher_graph import Precision, engine_graph
from efq.benchmarks.peers.float_teacher import FloatTeacher
from efq.runtime import Manifest
from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import ENGINE_FOLDER, Artifact
from efq.runtime.cuda.seam import Cuda
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.tensorrt.build.builder import PLAN_FILE, build_engine
from efq.runtime.tensorrt.build.layers import Layer
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.module import import_tensorrt
from efq.runtime.tensorrt.open import open_engine
from efq.runtime.tensorrt.run.model import TensorRTModel

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSource:
    """An engine that can be opened.

    `precision`: "int8", "float16" or "float32". `products`: in what its convolutions and matrix products multiply, in
    words. `plan`: where its plan is, once it was opened.
    """

    name: str
    precision: str
    description: str
    products: str
    plan: Path
    open: Callable[[], TensorRTModel]


def float_engine(
    precision: Precision,
    teacher: FloatTeacher,
    folder: Path,
    *,
    name: str,
    target: str,
    options: BuildOptions,
    contract: InputContract,
    cuda: Cuda,
    progress: ShowProgress = no_progress,
) -> EngineSource:
    """Build the engine of `teacher` into the new folder `folder`, its whole network in `precision`.

    `progress` shows the build. Raises what `build_engine` raises.
    """
    module, normalization = import_tensorrt(target), teacher.normalization
    network = onnx.load(teacher.path)
    graph = engine_graph(
        network, mean=normalization.mean, std=normalization.std, contract=contract, precision=precision
    )
    folder.mkdir()
    path = folder / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    built = build_engine(target, path, folder, options, device=f"cuda:{cuda.ordinal}", progress=progress)
    return EngineSource(
        name=name,
        precision=precision,
        description=f"float teacher in {module.__name__}, graph in {precision}, without TF32",
        products=types_of_products(graph, built.layers),
        plan=built.plan,
        open=lambda: TensorRTModel(
            built.plan.read_bytes(), module=module, cuda=cuda, allow_host_code=options.version_compatible
        ),
    )


def artifact_engine(
    directory: Path,
    manifest: Manifest,
    *,
    name: str,
    device: str,
    rebuild: bool,
    progress: ShowProgress = no_progress,
) -> EngineSource:
    """The engine of an artifact; with `rebuild` opening it builds one that is missing or was made for elsewhere."""
    artifact = Artifact.open(directory)
    bits = f"W{manifest.bits['weights']}A{manifest.bits['activations']}"
    return EngineSource(
        name=name,
        precision="int8",
        description=f"EFQ artifact, {bits}, target {manifest.target}",
        products=_covered(manifest),
        plan=directory / ENGINE_FOLDER / PLAN_FILE,
        open=lambda: open_engine(artifact, device, rebuild=rebuild, progress=progress),
    )


def types_of_products(graph: onnx.ModelProto, layers: Sequence[Layer]) -> str:
    """ "49 float16, 1 float32": what the graph's convolutions and matrix products read in the layers that run them."""
    kinds: collections.Counter[str] = collections.Counter()
    for node in graph.graph.node:
        if node.op_type in _PRODUCTS:
            running = [layer for layer in layers if node.name in layer.nodes and layer.inputs and layer.is_product]
            kinds[running[0].inputs[0] if running else "not told"] += 1
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _covered(manifest: Manifest) -> str:
    """What the export found of its own engine's layers."""
    counts = [manifest.coverage.get(kind) for kind in ("convolutions", "matrix_products")]
    measured = [count for count in counts if isinstance(count, Mapping)]
    if len(measured) < len(counts):
        return "not measured at export"
    integer, total = (sum(count[key] for count in measured) for key in ("integer", "total"))
    return f"{integer} int8" + (f", {total - integer} float" if total > integer else "")
