"""TensorRTModel over the fake engine: the logic of the runtime, the same for every form of TensorRT."""

from __future__ import annotations

import gc
import logging
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import (
    ACTIVATION_BYTES,
    LIMITS,
    SHAPE,
    SIZE,
    RtxConfig,
    embed,
    faces,
    make_onnx_plan,
    make_plan,
    open_model,
    trt,
)
from messages import names, raises_naming
from networks import NETWORKS, make_student, random_images, randomize

from efq.export import find_target
from efq.export.engine_settings import EngineSettings
from efq.export.surface import with_interface
from efq.export.targets.target import ExportOptions
from efq.runtime import DeviceError, EngineError, InputContract, InputError, UsageError
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.tensorrt.run.model import TensorRTModel

FORMS = ("10.3", "10.16", "rtx")
CONTRACT = InputContract(height=SHAPE[0], width=SHAPE[1])


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("graphs", [False, True])
def test_embeddings_are_those_of_the_network_for_every_batch_size(cuda: FakeCuda, form: str, graphs: bool) -> None:
    model, _ = open_model(cuda, form, cuda_graphs=graphs)
    for count in (1, 2, 3, 31, 32, 33, 70, 3, 1):
        images = faces(count, seed=count)
        embeddings = model.run(images)
        assert embeddings.dtype == np.float32
        assert embeddings.shape == (count, SIZE)
        np.testing.assert_array_equal(embeddings, embed(images))


@pytest.mark.parametrize("text", ["float-nchw,bgr,raw", "float-nchw,imagenet", "uint8-nchw"])
def test_every_surface_is_fed(text: str, cuda: FakeCuda, tmp_path: Path) -> None:
    target, interface = find_target("trt"), Interface.parse(text)
    student = make_student(randomize(NETWORKS["bottleneck"]()))
    images = random_images(9).numpy()
    form = target.prepare(student, images, ExportOptions(engine=EngineSettings(build=False))).form
    found = {}
    for surface in (USUAL, interface):
        path = tmp_path / f"{surface}.onnx"
        onnx.save(with_interface(target.write(form), surface, student.contract), path)
        model, _ = open_model(cuda, plan=make_onnx_plan(path, (1, 2, 4)), interface=surface)
        model.check_signature(student.contract, 16)
        found[surface] = model.run(images)
        with pytest.raises(InputError):
            model.run(images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(found[interface], found[USUAL])
    with pytest.raises(EngineError):
        open_model(cuda, plan=make_onnx_plan(path, (1, 2, 4)))[0].check_signature(student.contract, 16)


def test_views_and_read_only_images_are_accepted(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda)
    mirrored = faces(3)[:, :, ::-1]
    mirrored.flags.writeable = False
    np.testing.assert_array_equal(model.run(mirrored), embed(mirrored.copy()))


def test_outputs_belong_to_the_caller(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda)
    first = model.run(faces(4))
    kept = first.copy()
    second = model.run(faces(4, seed=1))
    second[:] = 0
    np.testing.assert_array_equal(first, kept)
    assert first.flags.owndata


def test_batches_run_in_the_smallest_bucket_and_padding_is_zeros_each_time(cuda: FakeCuda) -> None:
    model, module = open_model(cuda)
    model.run(np.full((8, *SHAPE), 255, np.uint8))
    model.run(faces(1))
    batches = [context.state.batch for context in module.engines[0].contexts]
    assert batches == [8, 2]
    with cuda.current_device():
        padded = cuda.memory(dict(module.engines[0].contexts[1].state.addresses)["images"], 2 * np.prod(SHAPE))
    assert not padded[np.prod(SHAPE) :].any()


def test_chosen_buckets_are_the_only_shapes(cuda: FakeCuda) -> None:
    model, module = open_model(cuda, batch_buckets=[16, 4])
    for count in (1, 4, 5, 16, 17, 40):
        model.run(faces(count))
    assert model.buckets == (4, 16)
    assert {context.state.batch for context in module.engines[0].contexts} == {4, 16}


@pytest.mark.parametrize(
    "images",
    [faces(2)[0], faces(2)[:, :7], faces(0), faces(2).astype(np.int64), faces(2).transpose(0, 3, 1, 2), [1], None],
)
def test_other_arrays_are_refused_before_anything_is_launched(cuda: FakeCuda, images: Any) -> None:
    model, _ = open_model(cuda)
    before = len(cuda.history)
    found = (images.dtype, images.shape) if isinstance(images, np.ndarray) else (type(images).__name__,)
    with raises_naming(InputError, "uint8 (N, 8, 8, 3)", *found):
        model.run(images)
    assert len(cuda.history) == before


def test_buffers_grow_only_and_together(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda, cuda_graphs=False)
    for count in (3, 20, 2, 20, 32, 1, 32):
        model.run(faces(count))
    row = int(np.prod(SHAPE))
    grown = [3, 24, 32]
    expected = [ACTIVATION_BYTES, *(size for rows in grown for size in (rows * row, rows * SIZE * 4))]
    assert cuda.arguments("allocate") == expected
    assert cuda.arguments("allocate_pinned") == expected[1:]
    assert cuda.live() == {"device": 3, "pinned": 2, "streams": 1, "events": 0, "graphs": 0}


def test_all_work_of_a_call_is_on_one_stream_in_order(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda, cuda_graphs=False)
    model.run(faces(2))
    del cuda.history[:]
    model.run(faces(2))
    assert [call for call, _ in cuda.history] == ["copy_to_device", "copy_to_host", "synchronize"]
    assert len({stream for _, stream in cuda.history}) == 1


def test_close_frees_everything_and_may_be_repeated(cuda: FakeCuda) -> None:
    with open_model(cuda)[0] as model:
        for count in (2, 2, 2, 30, 30, 30):
            model.run(faces(count))
        assert cuda.live()["graphs"] > 0
    assert set(cuda.live().values()) == {0}
    model.close()
    for call in (lambda: model.run(faces(2)), lambda: model.device_milliseconds(1, 1), model.serialized_runtime_cache):
        with pytest.raises(UsageError):
            call()


def test_close_gives_the_weights_back(cuda: FakeCuda) -> None:
    model, module = open_model(cuda)
    model.run(faces(2))
    engine = weakref.ref(module.engines.pop())
    model.close()
    gc.collect()
    assert engine() is None


def test_gpu_time_is_measured_for_the_bucket(cuda: FakeCuda) -> None:
    model, module = open_model(cuda)
    times = model.device_milliseconds(5, 4)
    assert times == [0.5] * 4
    assert [context.state.batch for context in module.engines[0].contexts] == [6]
    assert cuda.live()["events"] == 0
    for batch in (0, 33):
        with raises_naming(UsageError, 1, 32, batch):
            model.device_milliseconds(batch, 1)


def test_the_signature_is_checked(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda)
    assert (model.batch_limits.minimum, model.batch_limits.optimum, model.batch_limits.maximum) == LIMITS
    model.check_signature(CONTRACT, SIZE)
    for contract, size in ((InputContract(), SIZE), (CONTRACT, SIZE + 1)):
        with raises_naming(EngineError, (contract.height, contract.width, 3), size, SHAPE, SIZE, "efq-export"):
            model.check_signature(contract, size)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"inputs": []}, ("input", 0)),
        ({"inputs": [["a", "UINT8", [-1, *SHAPE]], ["b", "UINT8", [-1, *SHAPE]]]}, ("input", 2, "a", "b")),
        ({"outputs": []}, ("output", 0)),
        ({"inputs": [["images", "FLOAT", [-1, *SHAPE]]]}, ("input", "images", "UINT8", "FLOAT")),
        ({"outputs": [["embeddings", "HALF", [-1, SIZE]]]}, ("output", "embeddings", "FLOAT", "HALF")),
        ({"outputs": [["embeddings", "FLOAT", [-1, -1]]]}, ("output", "embeddings", "(-1, -1)")),
        ({"inputs": [["images", "UINT8", [-1, -1, 8, 3]]]}, ("input", "images", "(-1, -1, 8, 3)")),
        ({"profile": [[1, 4, 4, 3], [8, *SHAPE], [32, 16, 16, 3]]}, ("images", "(1, 4, 4, 3)")),
        ({"profile": []}, ("images", "[]")),
    ],
)
def test_engines_of_other_networks_are_refused(
    cuda: FakeCuda, changes: dict[str, Any], facts: tuple[object, ...]
) -> None:
    with raises_naming(EngineError, *facts, "efq-export"):
        open_model(cuda, plan=make_plan(LIMITS, **changes))


def test_an_engine_with_one_batch_size_pads_and_splits(cuda: FakeCuda) -> None:
    plan = make_plan((4, 4, 4), inputs=[["images", "UINT8", [4, *SHAPE]]], outputs=[["embeddings", "FLOAT", [4, SIZE]]])
    model, _ = open_model(cuda, plan=plan)
    np.testing.assert_array_equal(model.run(faces(11)), embed(faces(11)))


def test_buckets_and_contexts_that_cannot_be_are_refused(cuda: FakeCuda) -> None:
    with raises_naming(UsageError, LIMITS[0], LIMITS[2], 1, "--batch"):
        open_model(cuda, batch_buckets=[1])
    with raises_naming(UsageError, "context", 0):
        open_model(cuda, contexts=0)


def test_contexts_that_tensorrt_refuses_are_reported(cuda: FakeCuda) -> None:
    model, module = open_model(cuda)
    module.engines[0].refuse_contexts = True
    with raises_naming(DeviceError, "out of memory for the context", "GPU memory"):
        model.run(faces(2))
    module.engines[0].refuse_contexts = False
    np.testing.assert_array_equal(model.run(faces(2)), embed(faces(2)))


def test_a_refused_run_is_reported_with_tensorrts_reason_and_the_next_one_works(cuda: FakeCuda) -> None:
    model, module = open_model(cuda, cuda_graphs=False, contexts=1)
    module.engines[0].refuse_execution = True
    with raises_naming(DeviceError, "enqueue failed", "nvidia-smi"):
        model.run(faces(2))
    module.engines[0].refuse_execution = False
    np.testing.assert_array_equal(model.run(faces(2)), embed(faces(2)))
    assert cuda.count("create_stream") == 1


@pytest.mark.parametrize("size", [ACTIVATION_BYTES - 1, ACTIVATION_BYTES + 400, ACTIVATION_BYTES + 3000])
def test_out_of_memory_leaks_nothing_and_small_batches_go_on(size: int) -> None:
    cuda = FakeCuda(memory_bytes=size)
    model, _ = open_model(cuda, contexts=1)
    for count in (32, 2, 32, 2):
        if size > ACTIVATION_BYTES + 1000 and count == 2:
            np.testing.assert_array_equal(model.run(faces(count)), embed(faces(count)))
        else:
            with pytest.raises(DeviceError, match="cudaErrorMemoryAllocation"):
                model.run(faces(count))
    model.close()
    assert set(cuda.live().values()) == {0}


@pytest.mark.parametrize("call", ["copy_to_device", "copy_to_host", "synchronize", "allocate_pinned", "launch_graph"])
def test_after_a_failed_call_the_context_goes_on(cuda: FakeCuda, call: str) -> None:
    model, _ = open_model(cuda, contexts=1)
    model.run(faces(3))
    cuda.failures[call] = DeviceError(call)
    with pytest.raises(DeviceError, match=call):
        model.run(faces(3 if call == "launch_graph" else 20))
    for count in (3, 20, 3):
        np.testing.assert_array_equal(model.run(faces(count)), embed(faces(count)))
    assert cuda.count("create_stream") == 1


def test_a_context_with_broken_cuda_is_discarded(cuda: FakeCuda) -> None:
    model, _ = open_model(cuda, contexts=1)
    model.run(faces(3))
    cuda.is_broken = True
    with pytest.raises(DeviceError, match="cudaErrorIllegalAddress"):
        model.run(faces(3))
    with pytest.raises(DeviceError, match="create_stream"):
        model.run(faces(3))
    cuda.is_broken = False
    np.testing.assert_array_equal(model.run(faces(3)), embed(faces(3)))
    assert cuda.count("create_stream") == 3


def test_an_interrupt_returns_the_context(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = open_model(cuda, contexts=1)
    model.run(faces(3))

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cuda, "copy_to_host", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.run(faces(3))
    np.testing.assert_array_equal(model.run(faces(3)), embed(faces(3)))
    assert cuda.count("create_stream") == 1


def test_rtx_gets_its_settings_and_its_cache(cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    model, module = open_model(cuda, "rtx")
    model.run(faces(2))
    settings = RtxConfig.made[-1]
    assert settings.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert settings.dynamic_shapes_kernel_specialization_strategy == trt.DynamicShapesKernelSpecializationStrategy.EAGER
    assert settings.cache is not None
    blob = model.serialized_runtime_cache()
    assert blob == settings.cache.serialize()

    TensorRTModel(make_plan(), module=module, cuda=cuda, cuda_graphs=False, runtime_cache=blob)
    assert RtxConfig.made[-1].cuda_graph_strategy == trt.CudaGraphStrategy.DISABLED
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        TensorRTModel(make_plan(), module=module, cuda=cuda, runtime_cache=b"of another GPU")
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    names(warning.getMessage(), "runtime cache", "TensorRT-RTX")


def test_tensorrt_has_no_runtime_cache(cuda: FakeCuda) -> None:
    assert open_model(cuda, "10.3")[0].serialized_runtime_cache() == b""
    assert open_model(cuda, "10.16")[0].serialized_runtime_cache() == b""
