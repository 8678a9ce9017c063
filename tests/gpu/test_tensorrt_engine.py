"""A real engine on a real GPU, by each package that reaches one. Skipped where there is none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from gpus import CUDA_PACKAGES
from tensorrt_plans import SHAPE, build_mean_plan, mean_color

from efq.runtime import DeviceError, MissingDependencyError
from efq.runtime.cuda.seam import open_cuda
from efq.runtime.tensorrt.module import TENSORRT, TENSORRT_RTX, import_tensorrt
from efq.runtime.tensorrt.run.model import TensorRTModel

if not CUDA_PACKAGES:
    pytest.skip("no package reaches a GPU", allow_module_level=True)

IMAGES = np.random.default_rng(0).integers(0, 256, (50, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module", params=(TENSORRT.target, TENSORRT_RTX.target))
def module(request: pytest.FixtureRequest) -> Any:
    try:
        return import_tensorrt(request.param)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def plan(module: Any) -> bytes:
    return build_mean_plan(module)


@pytest.mark.parametrize("package", CUDA_PACKAGES)
@pytest.mark.parametrize("graphs", [False, True])
def test_embeddings_are_those_of_the_network(module: Any, plan: bytes, package: str, graphs: bool) -> None:
    cuda = open_cuda("cuda:0", package)
    try:
        model = TensorRTModel(plan, module=module, cuda=cuda, cuda_graphs=graphs)
    except DeviceError as error:
        pytest.skip(str(error))
    with model:
        for count in (1, 1, 1, 5, 5, 5, 50, 50, 1):
            np.testing.assert_allclose(model.run(IMAGES[:count]), mean_color(IMAGES[:count]), rtol=1e-5)
        assert model.uses_cuda_graphs == (graphs and (cuda.capture_refusal is None or module.__name__ != "tensorrt"))
        assert all(0 < time < 1000 for time in model.device_milliseconds(4, 5))


def test_threads_get_the_bytes_of_one(module: Any, plan: bytes) -> None:
    try:
        model = TensorRTModel(plan, module=module, cuda=open_cuda())
    except DeviceError as error:
        pytest.skip(str(error))
    with model, ThreadPoolExecutor(8) as pool:
        expected = {count: model.run(IMAGES[:count]).tobytes() for count in (1, 7, 16, 50)}
        counts = [count for count in expected for _ in range(50)]
        results = pool.map(lambda count: model.run(IMAGES[:count]).tobytes(), counts)
        assert all(result == expected[count] for count, result in zip(counts, results, strict=True))
