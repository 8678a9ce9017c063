"""CUDA graphs: captured once a bucket and stream, again when the buffers move, left out for a stated reason."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import embed, faces, make_module, make_plan, open_model

from efq.runtime import DeviceError
from efq.runtime.tensorrt.run.graphs import GraphPolicy
from efq.runtime.tensorrt.run.model import TensorRTModel

REPEATS = 5


def run(model: TensorRTModel, count: int, times: int = REPEATS) -> None:
    for seed in range(times):
        images = faces(count, seed)
        np.testing.assert_array_equal(model.run(images), embed(images))


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.mark.parametrize("form", ["10.3", "10.16"])
def test_each_bucket_is_captured_once_and_launched_ever_after(cuda: FakeCuda, form: str) -> None:
    model, _ = open_model(cuda, form)
    assert model.uses_cuda_graphs
    run(model, 32)  # the largest first: the buffers never move again
    for count in (8, 3, 32, 7, 8, 3):
        run(model, count)
    assert cuda.count("begin_capture") == 3  # 32, 8 (also for 7) and 3
    assert cuda.live()["graphs"] == 3
    assert cuda.count("launch_graph") == 7 * REPEATS - 3  # but for the run that prepares a bucket


def test_graphs_are_captured_again_when_the_buffers_move(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda)
    run(model, 3)
    assert cuda.count("begin_capture") == 1
    run(model, 16)
    assert cuda.count("begin_capture") == 2
    run(model, 3)
    assert cuda.count("begin_capture") == 3
    assert cuda.count("destroy_graph") == 1
    run(model, 16)
    run(model, 3)
    assert cuda.count("begin_capture") == 3


def test_a_single_call_captures_nothing(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda)
    run(model, 3, times=1)
    assert cuda.count("begin_capture") == 0


def test_without_graphs_nothing_is_captured(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda, cuda_graphs=False)
    assert not model.uses_cuda_graphs
    run(model, 3)
    assert cuda.count("begin_capture") == 0


def test_rtx_makes_its_own_graphs(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda, "rtx")
    assert model.uses_cuda_graphs
    run(model, 3)
    assert cuda.count("begin_capture") == 0
    assert not open_model(cuda, "rtx", cuda_graphs=False)[0].uses_cuda_graphs


def test_an_engine_that_cannot_be_captured_runs_without_and_says_why_once(
    cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = open_model(cuda, plan=make_plan((1, 8, 32), capturable=False))
    with caplog.at_level(logging.WARNING):
        for count in (3, 8, 3):
            run(model, count)
    assert not model.uses_cuda_graphs
    assert cuda.count("begin_capture") == 1
    assert cuda.live()["graphs"] == 0
    assert len(caplog.records) == 1
    assert "a layer synchronizes" in caplog.text


@pytest.mark.parametrize("call", ["begin_capture", "end_capture"])
def test_a_capture_that_cuda_refuses_is_no_failure(cuda: FakeCuda, call: str, caplog: pytest.LogCaptureFixture) -> None:
    model, _ = open_model(cuda, contexts=1)
    run(model, 3, times=1)
    cuda.failures[call] = DeviceError("cudaErrorNotSupported")
    with caplog.at_level(logging.WARNING):
        run(model, 3)
    assert "cudaErrorNotSupported" in caplog.text
    assert not model.uses_cuda_graphs


def test_the_first_refusal_is_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    policy = GraphPolicy(wanted=True, made_by_runtime=False, refusal=None)
    with caplog.at_level(logging.WARNING):
        policy.refuse("first")
        policy.refuse("second")
    assert policy.refusal == "first"
    assert len(caplog.records) == 1


def test_a_package_without_graphs_says_so(caplog: pytest.LogCaptureFixture) -> None:
    cuda = FakeCuda()
    cuda.capture_refusal = "this package cannot"
    with caplog.at_level(logging.WARNING):
        model = TensorRTModel(make_plan(), module=make_module(cuda), cuda=cuda)
    assert not model.uses_cuda_graphs
    assert "this package cannot" in caplog.text
    run(model, 3)
    assert cuda.count("begin_capture") == 0
    # TensorRT-RTX needs no help from the package.
    assert TensorRTModel(make_plan(), module=make_module(cuda, "rtx"), cuda=cuda).uses_cuda_graphs
