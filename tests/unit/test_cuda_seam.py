"""Opening a GPU where there is none, with the real packages: every call answers with a DeviceError that helps."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gpus import CUDA_PACKAGES
from messages import names, raises_naming

from efq.runtime import DeviceError, MissingDependencyError, UsageError
from efq.runtime.cuda.cuda_python import CudaPython
from efq.runtime.cuda.failures import device_error
from efq.runtime.cuda.seam import (
    ENTRY_POINTS,
    PACKAGES,
    Cuda,
    DeviceProperties,
    check_ordinal,
    device_ordinal,
    open_cuda,
)

needs_no_gpu = pytest.mark.skipif(bool(CUDA_PACKAGES), reason="this machine has a GPU: tests/gpu runs on it")


@pytest.fixture
def cuda_python() -> CudaPython:
    return CudaPython(pytest.importorskip("cuda.bindings.runtime"), 0)


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("device", "ordinal"), [("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)])
def test_device_names(device: str, ordinal: int) -> None:
    assert device_ordinal(device) == ordinal


@pytest.mark.parametrize("device", ["", "cpu", "cuda:", "cuda:-1", "cuda:1.5", "cuda:x", "CUDA:0", "cuda:0 ", "cuda:٣"])
def test_other_device_names_are_refused(device: str) -> None:
    with raises_naming(UsageError, "cuda", "cuda:N", repr(device)):
        open_cuda(device)


def test_other_packages_are_refused() -> None:
    with raises_naming(UsageError, "cuda-python", "pycuda", "torch", "cupy"):
        open_cuda(package="cupy")


@needs_no_gpu
def test_no_driver_is_a_device_error_with_what_each_package_said() -> None:
    pytest.importorskip("cuda.bindings.runtime")
    with raises_naming(DeviceError, *PACKAGES, "cudaErrorInsufficientDriver", "NVIDIA driver") as caught:
        open_cuda()
    assert caught.value.exit_code == 4


def test_the_child_of_a_fork_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that used a GPU: CUDA would only say that it is not initialized."""
    monkeypatch.setattr("efq.runtime.cuda.seam._used_by", os.getppid())
    with raises_naming(DeviceError, "fork", "spawn"):
        open_cuda("cuda:0")


def test_no_package_is_a_missing_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "cuda.bindings.runtime", "pycuda.driver", "torch")
    with raises_naming(MissingDependencyError, *PACKAGES, "pip install"):
        open_cuda()


@pytest.mark.parametrize(
    ("package", "module"), [("cuda-python", "cuda.bindings.runtime"), ("pycuda", "pycuda.driver"), ("torch", "torch")]
)
def test_a_package_that_is_asked_for_and_absent(monkeypatch: pytest.MonkeyPatch, package: str, module: str) -> None:
    hide(monkeypatch, module)
    with raises_naming(MissingDependencyError, package, "install"):
        open_cuda(package=package)


@needs_no_gpu
def test_a_torch_without_cuda_is_a_missing_dependency() -> None:
    torch = pytest.importorskip("torch")
    if torch.version.cuda is not None:
        pytest.skip("this torch is built for CUDA")
    with raises_naming(MissingDependencyError, f"torch {torch.__version__}", "CUDA", "https://pytorch.org"):
        open_cuda(package="torch")


CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "device_count": ("cudaGetDeviceCount", lambda cuda: cuda.device_count()),
    "properties": ("cudaGetDeviceProperties", lambda cuda: cuda.properties()),
    "current_device": ("cudaGetDevice", lambda cuda: cuda.current_device().__enter__()),
    "create_stream": ("cudaStreamCreateWithFlags", lambda cuda: cuda.create_stream()),
    "destroy_stream": ("cudaStreamDestroy", lambda cuda: cuda.destroy_stream(1 << 40)),
    "synchronize": ("cudaStreamSynchronize", lambda cuda: cuda.synchronize(1 << 40)),
    "allocate": ("cudaMalloc", lambda cuda: cuda.allocate(16)),
    "free": ("cudaFree", lambda cuda: cuda.free(1 << 40)),
    "free_memory": ("cudaMemGetInfo", lambda cuda: cuda.free_memory()),
    "allocate_pinned": ("cudaMallocHost", lambda cuda: cuda.allocate_pinned(16)),
    "free_pinned": ("cudaFreeHost", lambda cuda: cuda.free_pinned(np.zeros(4, np.uint8))),
    "copy_to_device": ("cudaMemcpyAsync", lambda cuda: cuda.copy_to_device(1 << 40, np.zeros(4, np.uint8), 1 << 40)),
    "copy_to_host": ("cudaMemcpyAsync", lambda cuda: cuda.copy_to_host(np.zeros(4, np.uint8), 1 << 40, 1 << 40)),
    "create_event": ("cudaEventCreate", lambda cuda: cuda.create_event()),
    "destroy_event": ("cudaEventDestroy", lambda cuda: cuda.destroy_event(1 << 40)),
    "record_event": ("cudaEventRecord", lambda cuda: cuda.record_event(1 << 40, 1 << 40)),
    "elapsed_milliseconds": ("cudaEventElapsedTime", lambda cuda: cuda.elapsed_milliseconds(1 << 40, 1 << 41)),
    "begin_capture": ("cudaStreamBeginCapture", lambda cuda: cuda.begin_capture(1 << 40)),
    "end_capture": ("cudaStreamEndCapture", lambda cuda: cuda.end_capture(1 << 40)),
    "launch_graph": ("cudaGraphLaunch", lambda cuda: cuda.launch_graph(1 << 40, 1 << 40)),
    "destroy_graph": ("cudaGraphExecDestroy", lambda cuda: cuda.destroy_graph(1 << 40)),
}


def test_every_method_of_the_seam_is_called_below() -> None:
    methods = {name for name, value in vars(Cuda).items() if callable(value) and not name.startswith("_")}
    assert set(CALLS) == methods


@needs_no_gpu
@pytest.mark.parametrize("method", sorted(CALLS))
def test_the_status_of_every_real_call_is_checked(cuda_python: CudaPython, method: str) -> None:
    name, call = CALLS[method]
    with pytest.raises(DeviceError, match=rf"{name}\b.*\bcudaError[A-Z]"):
        call(cuda_python)


@pytest.mark.parametrize(
    "module", ["runtime.cuda.cuda_python.CudaPython", "runtime.cuda.pycuda.PyCuda", "toolchain.torch_cuda.TorchCuda"]
)
def test_every_package_offers_the_whole_seam(module: str) -> None:
    name, _, class_name = module.rpartition(".")
    offered = vars(getattr(importlib.import_module(f"efq.{name}"), class_name))
    attributes = {name for name in vars(Cuda) if not name.startswith("_")} - {"ordinal"}
    assert attributes <= set(offered)


def test_every_package_is_found_by_its_entry_point() -> None:
    """torch's lies in the toolchain: the runtime itself never imports torch."""
    found = {point.name: point.load() for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    assert set(found) == set(PACKAGES)
    assert found["torch"].__module__ == "efq.toolchain.torch_cuda"


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        ("cudaErrorInsufficientDriver: CUDA driver version is insufficient", "NVIDIA driver"),
        ("Found no NVIDIA driver on your system", "NVIDIA driver"),
        ("cudaErrorNoDevice: no CUDA-capable device is detected", "CUDA_VISIBLE_DEVICES"),
        ("cuInit failed: no CUDA-capable device is detected", "CUDA_VISIBLE_DEVICES"),
        ("No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES"),
        ("cudaErrorInvalidDevice: invalid device ordinal", "nvidia-smi -L"),
        ("cudaErrorMemoryAllocation: out of memory", "GPU memory"),
        ("cuMemAlloc failed: out of memory", "GPU memory"),
        ("CUDA error: an illegal memory access was encountered", "restart"),
        ("cudaErrorIllegalAddress: an illegal memory access was encountered", "restart"),
        ("cudaErrorLaunchFailure: unspecified launch failure", "restart"),
        ("cudaErrorECCUncorrectable: uncorrectable ECC error encountered", "replace"),
        ("cudaErrorInvalidValue: invalid argument", "nvidia-smi"),
    ],
)
def test_failures_say_what_to_do(found: str, remedy: str) -> None:
    error = device_error("cudaCall", found)
    names(error, "cudaCall", found)
    names(str(error).replace(found, ""), remedy)


def test_ordinals_are_held_against_the_devices() -> None:
    check_ordinal(1, 2)
    with raises_naming(DeviceError, "cuda:0", "cuda:1", "cuda:2", "nvidia-smi -L"):
        check_ordinal(2, 2)
    with raises_naming(DeviceError, "nvidia-smi", "CUDA_VISIBLE_DEVICES"):
        check_ordinal(0, 0)


def test_the_sm_is_written_as_compilers_do() -> None:
    properties = DeviceProperties(
        name="GPU", compute_capability=(12, 0), memory_bytes=1, driver_version=(13, 0), runtime_version=(12, 6)
    )
    assert properties.sm == "sm_120"
