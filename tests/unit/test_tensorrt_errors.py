"""Plans that cannot run: by the fake, for every answer TensorRT has, and by the real TensorRT-RTX without a GPU."""

from __future__ import annotations

from typing import Any

import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import make_module, make_plan, trt
from gpus import CUDA_PACKAGES
from messages import raises_naming
from tensorrt_plans import build_mean_plan

from efq.runtime import DeviceError, EfqError, EngineError
from efq.runtime.tensorrt.run.model import TensorRTModel

JUNK = [b"", b"x", b"x" * 1000, bytes(100_000)]


@pytest.mark.parametrize("form", ["10.3", "10.16", "rtx"])
@pytest.mark.parametrize("plan", JUNK)
def test_junk_is_no_engine(form: str, plan: bytes) -> None:
    cuda = FakeCuda()
    with raises_naming(EngineError, "efq-export") as caught:
        TensorRTModel(plan, module=make_module(cuda, form), cuda=cuda)
    assert "only follows" not in str(caught.value)
    assert ("magicTag" in str(caught.value)) == (form != "rtx")
    assert set(cuda.live().values()) == {0}


def test_host_code_in_a_plan_is_only_run_when_it_is_allowed() -> None:
    cuda = FakeCuda()
    plan = make_plan(host_code=True)
    with raises_naming(EngineError, "engine_host_code_allowed"):
        TensorRTModel(plan, module=make_module(cuda), cuda=cuda)
    TensorRTModel(plan, module=make_module(cuda), cuda=cuda, allow_host_code=True).close()


@pytest.mark.parametrize(
    ("name", "error", "remedy"),
    [
        ("MALFORMED_ENGINE", EngineError, "efq-export"),
        ("VERSION_MISMATCH", EngineError, "efq-export"),
        ("UNSUPPORTED_CC", DeviceError, "compute capability"),
        ("OLD_CUDA_DRIVER", DeviceError, "NVIDIA driver"),
        ("OLD_CUDA_RUNTIME", DeviceError, "tensorrt-rtx"),
        ("INSUFFICIENT_GPU_MEMORY", DeviceError, "GPU memory"),
        ("CUDA_ERROR", DeviceError, "nvidia-smi"),
    ],
)
def test_what_tensorrt_rtx_diagnoses_is_translated(name: str, error: type[EfqError], remedy: str) -> None:
    cuda = FakeCuda()
    bits = int(getattr(trt.EngineInvalidityDiagnostics, name))
    with raises_naming(error, "tensorrt_rtx", remedy) as caught:
        TensorRTModel(make_plan(diagnostics=bits), module=make_module(cuda, "rtx"), cuda=cuda)
    assert type(caught.value) is error


def test_every_diagnosis_is_known() -> None:
    known = {"MALFORMED_ENGINE", "VERSION_MISMATCH", "UNSUPPORTED_CC", "OLD_CUDA_DRIVER", "OLD_CUDA_RUNTIME"}
    known |= {"INSUFFICIENT_GPU_MEMORY", "CUDA_ERROR"}
    assert set(trt.EngineInvalidityDiagnostics.__members__) == known


def test_the_plan_comes_first_of_several_diagnoses() -> None:
    cuda = FakeCuda()
    bits = int(trt.EngineInvalidityDiagnostics.VERSION_MISMATCH) | int(trt.EngineInvalidityDiagnostics.OLD_CUDA_DRIVER)
    with raises_naming(EngineError, "version", "efq-export"):
        TensorRTModel(make_plan(diagnostics=bits), module=make_module(cuda, "rtx"), cuda=cuda)


@pytest.mark.parametrize("form", ["10.3", "rtx"])
def test_no_answer_from_cuda_is_a_device_error(form: str) -> None:
    cuda = FakeCuda()
    with raises_naming(DeviceError, "cudaError 35", "nvidia-smi"):
        TensorRTModel(make_plan(diagnostics=-1), module=make_module(cuda, form), cuda=cuda)


def test_a_tensorrt_that_gives_no_runtime_is_a_device_error() -> None:
    cuda = FakeCuda()
    module = make_module(cuda)

    def no_runtime(logger: Any) -> None:
        logger.log(trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        message = "pybind11::init(): factory function returned nullptr"
        raise TypeError(message)

    module.Runtime = no_runtime
    with raises_naming(DeviceError, "CUDA initialization failure with error: 35", "nvidia-smi"):
        TensorRTModel(make_plan(), module=module, cuda=cuda)


@pytest.mark.parametrize("plan", JUNK)
def test_the_real_tensorrt_rtx_refuses_junk(plan: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with raises_naming(EngineError, f"tensorrt_rtx {trt.__version__}", "efq-export"):
        TensorRTModel(plan, module=trt, cuda=FakeCuda())
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def real_plan() -> bytes:
    return build_mean_plan(trt)


@pytest.mark.skipif(bool(CUDA_PACKAGES), reason="this machine has a GPU: tests/gpu runs on it")
def test_a_real_plan_without_a_gpu_is_a_device_error(real_plan: bytes) -> None:
    with raises_naming(DeviceError, "cudaError 35", "nvidia-smi"):
        TensorRTModel(real_plan, module=trt, cuda=FakeCuda())


@pytest.mark.parametrize("fraction", [0.0005, 0.5, 0.999])
def test_the_real_tensorrt_rtx_refuses_a_truncated_plan(real_plan: bytes, fraction: float) -> None:
    with pytest.raises((EngineError, DeviceError)):
        TensorRTModel(real_plan[: int(len(real_plan) * fraction)], module=trt, cuda=FakeCuda())
