"""The GPU's part of a benchmark: statistics from known event times, what is said of them, what nvidia-smi tells."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import ACTIVATION_BYTES, LIMITS, SHAPE, SIZE, faces, make_plan, open_model, trt
from messages import names
from onnx import helper

from efq.benchmarks.engines.engine_bench import gpu_time
from efq.benchmarks.engines.engine_sources import types_of_products
from efq.benchmarks.engines.gpu import describe_gpu, query_nvidia_smi, read_clocks
from efq.benchmarks.engines.gpu_results import UNKNOWN, EngineRecord, GpuClocks, GpuMachine, GpuResults, GpuSetting
from efq.benchmarks.engines.open_engines import DeviceClock, DeviceTimed, TensorRTPeer
from efq.benchmarks.report.gpu_sections import gpu_sections
from efq.benchmarks.timing.latency import draw_batches, time_in_turn
from efq.runtime.cuda.seam import DeviceProperties
from efq.runtime.tensorrt.build.layers import Layer

EVENT = 0.5  # what the fake's clock moves at each event


def machine() -> GpuMachine:
    return GpuMachine(
        name="Example GPU",
        compute_capability="8.6",
        memory_gib=24.0,
        cuda="13.0",
        cuda_runtime="12.6",
        cuda_package="cuda-python",
        tensorrt="tensorrt 11.4",
        driver="580.1",
        power_limit="350.00 W",
        max_sm_clock="2100 MHz",
        max_memory_clock="9751 MHz",
    )


def results(int8_ms: float, half_ms: float) -> GpuResults:
    times = {"teacher fp32": 4.0, "teacher fp16": half_ms, "student": int8_ms}
    precisions = {"teacher fp32": "float32", "teacher fp16": "float16", "student": "int8"}
    return GpuResults(
        machine=machine(),
        engines=tuple(
            EngineRecord(
                network=name,
                precision=precision,
                plan_bytes=2_500_000,
                device_bytes=3 << 20,
                products=f"50 {precision}",
            )
            for name, precision in precisions.items()
        ),
        settings=(
            GpuSetting(
                batch=8,
                clocks=GpuClocks(sm="2055 MHz", memory="9501 MHz"),
                networks=tuple(gpu_time(name, [ms / 1e3] * 20, 8) for name, ms in times.items()),
            ),
        ),
    )


def test_quartiles_are_those_of_the_events() -> None:
    found = gpu_time("student", np.arange(1, 102) / 1e3, 4)
    assert (found.p25_ms, found.p50_ms, found.p75_ms) == pytest.approx((26.0, 51.0, 76.0))
    assert (found.rounds, found.batch) == (101, 4)
    assert found.images_per_second == pytest.approx(4 / 0.051)


def test_tables_hold_the_times_the_memory_and_the_clocks() -> None:
    text = "\n\n".join(gpu_sections(results(1.0, 2.0)))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    assert ["student", "int8", "1.000", "1.000 to 1.000", "8000", "20"] in rows
    assert ["teacher fp16", "float16", "2.000", "2.000 to 2.000", "4000", "20"] in rows
    assert ["student", "int8", "3.0", "2.50", "50 int8"] in rows
    assert [row[0] for row in rows if len(row) == 6][2:] == ["student", "teacher fp16", "teacher fp32"]
    names(text, "Example GPU", 8.6, "24 GiB", 580.1, "CUDA 13.0", "tensorrt 11.4", "cuda-python", "CUDA 12.6")
    names(text, "350.00 W", "2055 MHz", "2100 MHz", "9501 MHz", "9751 MHz")


def test_int8_slower_than_fp16_is_said_and_the_contrary_too() -> None:
    def said(student: float, teacher: float) -> str:
        found = results(student, teacher)
        (finding,) = found.findings(found.settings[0])
        assert finding in gpu_sections(found)
        names(finding, "INT8", "FP16", "batch 8", "student", "teacher fp16", f"{student:.3f} ms", f"{teacher:.3f} ms")
        return finding

    slower, faster = said(2.2, 2.0), said(1.0, 2.0)
    names(slower, "slower", "1.10")
    names(faster, "2.00")
    assert "slower" not in faster


def test_gpu_time_is_that_of_the_events_and_host_work_is_not_in_it() -> None:
    cuda, clock = FakeCuda(), DeviceClock()
    peers = {}
    for name, milliseconds in (("fast", 1.5), ("slow", 3.0)):
        model, _ = open_model(cuda, "rtx", make_plan(milliseconds=milliseconds))
        peers[name] = DeviceTimed(TensorRTPeer(name, model, plan_bytes=1), clock)
    batches = draw_batches(faces(16), 8)
    times = time_in_turn(peers, batches, rounds=12, clock=clock)
    assert times["fast"] == pytest.approx([(1.5 + EVENT) / 1e3] * 12)
    assert times["slow"] == pytest.approx([(3.0 + EVENT) / 1e3] * 12)


def test_the_images_of_a_round_are_on_the_gpu_when_it_is_timed() -> None:
    cuda = FakeCuda()
    model, module = open_model(cuda)
    images = faces(8, seed=5)
    timed = DeviceTimed(TensorRTPeer("one", model, plan_bytes=1), DeviceClock())
    timed.run(timed.prepare(images))
    (context,) = module.engines[0].contexts
    held = cuda.memory(dict(context.state.addresses)["images"], images.nbytes)
    np.testing.assert_array_equal(held, images.reshape(-1))


def test_the_fake_gpu_s_free_memory_falls_by_what_an_engine_takes() -> None:
    cuda = FakeCuda()
    model, _ = open_model(cuda)
    with cuda.current_device():
        before = cuda.free_memory()
    model.run(faces(LIMITS[2]))
    with cuda.current_device():
        assert before - cuda.free_memory() == ACTIVATION_BYTES + LIMITS[2] * (int(np.prod(SHAPE)) + 4 * SIZE)


def test_types_of_products_counts_what_they_read() -> None:
    def layer(kind: str, read: str, *nodes: str) -> Layer:
        return Layer(name=kind, kind=kind, inputs=(read,), constants=(), outputs=("float16",), tactic="", nodes=nodes)

    kinds = {"a": "Conv", "b": "Conv", "c": "Gemm", "d": "MatMul", "e": "Relu"}
    nodes = [helper.make_node(kind, [name, "w"], [f"{name}_out"], name) for name, kind in kinds.items()]
    model = helper.make_model(helper.make_graph(nodes, "graph", [], []))
    layers = [
        layer("kgen", "uint8", "a"),  # pads the convolution's input
        layer("correlation", "float16", "a", "e"),
        layer("correlation", "float16", "b"),
        layer("runtime_fusion", "float32", "c"),
    ]
    assert types_of_products(model, layers) == "2 float16, 1 float32, 1 not told"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that answers with what `answer` holds and ends with the code in `code`; notes its arguments."""
    script = tmp_path / "nvidia-smi"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/answer\nexit $(cat {tmp_path}/code)\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "code").write_text("0")
    (tmp_path / "answer").write_text("580.65.06, 700.00 W, 1980 MHz, 2619 MHz\n")
    return tmp_path


class NamedGpu(FakeCuda):
    def properties(self) -> DeviceProperties:
        return dataclasses.replace(super().properties(), nvidia_smi_id="00000000:65:00.0")


def test_nvidia_smi_is_asked_for_this_gpu(smi: Path) -> None:
    found = describe_gpu(NamedGpu(), trt)
    assert (found.driver, found.power_limit) == ("580.65.06", "700.00 W")
    assert (found.max_sm_clock, found.max_memory_clock) == ("1980 MHz", "2619 MHz")
    assert found.tensorrt == f"tensorrt_rtx {trt.__version__}"
    assert (found.name, found.cuda, found.cuda_package) == ("Fake", "13.0", "fake")
    asked = (smi / "asked").read_text()
    assert "-i 00000000:65:00.0 --query-gpu=driver_version,power.limit,clocks.max.sm,clocks.max.memory" in asked


@pytest.mark.parametrize(
    ("answer", "code", "expected"),
    [
        ("1410 MHz, 1215 MHz", "0", ("1410 MHz", "1215 MHz")),
        ("[N/A], 1215 MHz", "0", (UNKNOWN, "1215 MHz")),
        ('Field "clocks.sm" is not a valid field to query.', "2", (UNKNOWN, UNKNOWN)),
        ("", "0", (UNKNOWN, UNKNOWN)),
        ("1, 2, 3", "0", (UNKNOWN, UNKNOWN)),
    ],
)
def test_what_nvidia_smi_does_not_tell_is_unknown(smi: Path, answer: str, code: str, expected: tuple[str, str]) -> None:
    (smi / "answer").write_text(answer)
    (smi / "code").write_text(code)
    clocks = read_clocks("GPU-1")
    assert (clocks.sm, clocks.memory) == expected


def test_without_nvidia_smi_or_an_identifier_all_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert query_nvidia_smi("", ("driver_version",)) == [UNKNOWN]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert query_nvidia_smi("GPU-1", ("driver_version", "power.limit")) == [UNKNOWN, UNKNOWN]
