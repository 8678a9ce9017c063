"""EFQ's own kernels: on every instruction set, by one thread and by several together, the bytes that a plan's
definition in NumPy gives, map by map.
"""

from __future__ import annotations

import dataclasses
import functools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, make_student, random_images, randomize
from numpy.typing import NDArray

from efq.export import find_target
from efq.runtime.artifact.onnx_model import read_onnx_model
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.fusion import fuse
from efq.runtime.native.library import NativePlan, Team, instruction_sets, library_path, load_library
from efq.runtime.native.plain import run_plain
from efq.runtime.native.steps import (
    AveragePool,
    Convolution,
    Embedding,
    Maps,
    Maximum,
    MaxPool,
    Mean,
    Plan,
    Product,
    Step,
    Sum,
    Window,
)

pytestmark = pytest.mark.skipif(library_path() is None, reason="the kernels were not built: make native")
SETS = instruction_sets() if library_path() is not None else ()
IMAGES = random_images(5, seed=11).numpy()


@functools.cache
def team_of(threads: int) -> Team:
    return Team(load_library(), threads)


def check(plan: Plan, images: NDArray[np.uint8]) -> None:
    """Every map that the kernels write, and the embeddings, on every instruction set and by two and five threads."""
    wanted: dict[Maps, NDArray[np.uint8]] = {}
    embeddings = run_plain(plan, images, lambda maps, found: wanted.__setitem__(maps, found[-1]))
    fused = fuse(plan)
    for name in SETS:
        native = NativePlan(fused, name, shared=False)
        memory = native.new_memory()
        found = native.run(memory, images)
        for step in fused.steps[:-1]:
            maps = fused.place_of(step.target)
            difference = native.read(memory, maps).reshape(-1) != wanted[maps].reshape(-1)
            assert not difference.any(), f"{name}, {step.node}: {difference.sum()} bytes of {difference.size}"
        np.testing.assert_array_equal(found, embeddings, err_msg=name)
        shared = NativePlan(fused, name)
        np.testing.assert_array_equal(shared.run(shared.new_memory(), images), embeddings, err_msg=name)
        for threads in (2, 5):
            together = shared.share(team_of(threads), [shared.new_memory(threads)], images)
            np.testing.assert_array_equal(together, embeddings, err_msg=f"{name}, {threads} threads")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_images_of_threads_of_their_own_and_of_all_together(count: int) -> None:
    random = np.random.default_rng(count)
    source, target = Maps(rows=9, columns=9, channels=3), Maps(rows=9, columns=9, channels=40)
    window = Window(kernel=(3, 3), edges=(1, 1, 1, 1))
    native = NativePlan(plan(source, [convolution(random, source, target, window), end(random, target)]))
    images = random_maps(random, source, count)
    wanted = native.run(native.new_memory(), images)
    for threads in (2, 3, 5):
        memories = [native.new_memory(threads), *[native.new_memory() for _ in range(threads - 1)]]
        np.testing.assert_array_equal(native.share(team_of(threads), memories, images), wanted, err_msg=f"{threads}")
    assert native.share(team_of(1), [native.new_memory()], images) is None


@pytest.mark.parametrize("activation", ["leaky", "prelu", "mixed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_of_networks(name: str, activation: str) -> None:
    student = make_student(randomize(NETWORKS[name]()), activation=activation)
    check(compile_plan(read_onnx_model(find_target("ort-cpu").write(student).SerializeToString())), IMAGES)


@pytest.mark.parametrize("bits", [{"weight_bits": 4}, {"weight_bits": 6, "activation_bits": 6}, {"full_range": True}])
def test_of_grids_of_other_bits(bits: dict[str, object]) -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu", **bits)
    check(compile_plan(read_onnx_model(find_target("ort-cpu").write(student).SerializeToString())), IMAGES)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A convolution on random maps, by itself or with a residual sum."""

    rows: int
    columns: int
    channels: int
    outputs: int
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    edges: tuple[int, int, int, int]
    dilations: tuple[int, int]
    largest: int
    adds: bool
    seed: int


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Mostly those that have a kernel of their own."""
    kind = draw(st.sampled_from(["1x1", "3x3", "depthwise", "whole", "any"]))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    channels, outputs = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    kernel, strides, edges, groups, dilations = (1, 1), (1, 1), (0, 0, 0, 0), 1, (1, 1)
    if kind == "3x3":
        kernel, edges = (3, 3), (1, 1, 1, 1)
        strides = draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))
    elif kind == "depthwise":
        kernel, edges, groups, outputs = (3, 3), (1, 1, 1, 1), channels, channels
        strides = draw(st.sampled_from([(1, 1), (2, 2)]))
    elif kind == "whole":
        kernel, groups, outputs = (rows, columns), channels, channels
    elif kind == "any":
        kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        edges = draw(st.tuples(*[st.integers(0, 3)] * 4))
        dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        groups = draw(st.integers(1, 3))
        channels, outputs = channels * groups, outputs * groups
        extents = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
        rows, columns = max(rows, extents[0]), max(columns, extents[1])
    largest = draw(st.sampled_from([63, 127]))
    return Shape(
        rows, columns, channels, outputs, groups, kernel, strides, edges, dilations, largest, draw(st.booleans()),
        draw(st.integers(0, 2**32 - 1)),
    )  # fmt: skip


def convolution(
    random: np.random.Generator, source: Maps, target: Maps, window: Window, *, groups: int = 1, largest: int = 63
) -> Convolution:
    """Random weights, and factors that leave some bytes at their ends."""
    inputs = source.channels // groups
    weights = random.integers(-largest - 1, largest + 1, (target.channels, *window.kernel, inputs)).astype(np.int8)
    spread = 0.02 / np.sqrt(inputs * window.kernel[0] * window.kernel[1])
    return Convolution(
        node="layer", target=target, source=source, weights=weights, window=window, groups=groups,
        bias=random.integers(-5000, 5000, target.channels).astype(np.int32),
        factors=(random.uniform(0.5, 1.5, target.channels) * spread).astype(np.float32),
        source_zero_point=int(random.integers(0, 256)), zero_point=int(random.integers(0, 256)),
    )  # fmt: skip


def end(random: np.random.Generator, source: Maps) -> Embedding:
    weights = random.integers(-64, 64, (11, source.rows, source.columns, source.channels)).astype(np.int8)
    return Embedding(
        node="embedding", target=Maps(rows=1, columns=1, channels=11), source=source, weights=weights,
        bias=random.integers(-50, 50, 11).astype(np.int32), factors=random.uniform(0.1, 1, 11).astype(np.float32),
        source_zero_point=int(random.integers(0, 256)),
    )  # fmt: skip


def plan(images: Maps, steps: list[Step]) -> Plan:
    return Plan(images=images, steps=tuple(steps), reshaped={}, embedding_size=11)


def random_maps(random: np.random.Generator, maps: Maps, count: int = 2) -> NDArray[np.uint8]:
    return random.integers(0, 256, (count, maps.rows, maps.columns, maps.channels)).astype(np.uint8)


@given(shape=shapes())
@settings(max_examples=60, deadline=None)
def test_of_convolutions(shape: Shape) -> None:
    random = np.random.default_rng(shape.seed)
    source = Maps(rows=shape.rows, columns=shape.columns, channels=shape.channels)
    window = Window(kernel=shape.kernel, strides=shape.strides, edges=shape.edges, dilations=shape.dilations)
    sizes = [
        (size + shape.edges[axis] + shape.edges[axis + 2] - shape.dilations[axis] * (shape.kernel[axis] - 1) - 1)
        // shape.strides[axis]
        + 1
        for axis, size in enumerate((shape.rows, shape.columns))
    ]
    target = Maps(rows=sizes[0], columns=sizes[1], channels=shape.outputs)
    options = {"groups": shape.groups, "largest": shape.largest}
    steps: list[Step] = [convolution(random, source, target, window, **options)]
    if shape.adds:
        other, total = dataclasses.replace(target), dataclasses.replace(target)
        steps.append(convolution(random, source, other, window, **options))
        ratios = [np.float32(random.uniform(0.2, 1.2)) for _ in range(2)]
        parts = [target, other] if shape.seed % 2 else [other, target]
        fixed = np.float32(random.uniform(-100, 50))
        steps.append(
            Sum(
                node="sum", target=total, source=parts[0], other=parts[1], ratio=ratios[0], other_ratio=ratios[1],
                fixed=fixed,
            )
        )  # fmt: skip
    steps.append(end(random, steps[-1].target))
    check(plan(source, steps), random_maps(random, source))


@pytest.mark.parametrize(
    "window",
    [
        Window(kernel=(1, 1)),
        Window(kernel=(1, 1), strides=(2, 2)),
        Window(kernel=(1, 1), strides=(1, 5000)),  # of which a tile would be far from the source
        Window(kernel=(3, 3), edges=(1, 1, 1, 1)),
        Window(kernel=(3, 3), edges=(1, 1, 1, 1), strides=(2, 2)),
        Window(kernel=(2, 3), edges=(1, 0, 2, 1), strides=(2, 1)),
        Window(kernel=(3, 2), edges=(0, 1, 2, 0), dilations=(2, 1)),
    ],
)
def test_of_many_pixels_and_outputs(window: Window) -> None:
    """So many that a layer has several units of each kind, whole ones and parts."""
    random = np.random.default_rng(17)
    source = Maps(rows=21, columns=19, channels=70)
    reach = [dilation * (size - 1) for dilation, size in zip(window.dilations, window.kernel, strict=True)]
    rows = (source.rows + window.edges[0] + window.edges[2] - reach[0] - 1) // window.strides[0] + 1
    columns = (source.columns + window.edges[1] + window.edges[3] - reach[1] - 1) // window.strides[1] + 1
    target = Maps(rows=rows, columns=columns, channels=130)
    layer = convolution(random, source, target, window, largest=127)
    check(plan(source, [layer, end(random, target)]), random_maps(random, source))


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_of_many_weights_that_several_images_go_through_together(count: int) -> None:
    random = np.random.default_rng(count)
    source, *maps = (Maps(rows=4, columns=4, channels=channels) for channels in (32, 512, 512))
    window = Window(kernel=(3, 3), edges=(1, 1, 1, 1))
    first, second = (convolution(random, *ends, window) for ends in zip([source, *maps], maps, strict=False))
    whole = plan(source, [first, second, end(random, maps[-1])])
    images = random_maps(random, source, count)
    check(whole, images)
    native = NativePlan(whole)
    memories = [native.new_memory(2), native.new_memory()]
    together = native.share(team_of(2), memories, images)
    np.testing.assert_array_equal(together, native.run(native.new_memory(), images))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize(("depthwise", "zero_point"), [(False, 0), (True, 77), (False, 255), (True, 255)])
def test_of_exact_prelus(depthwise: bool, zero_point: int, bfloat16: bool) -> None:
    """Slopes of every size and sign, many of which put products on ties: max(x, round(a * x)) in the layer's ending.

    With scales that are bfloat16 numbers, as EFQ's are, one product gives each of them; with others perhaps none does.
    """
    random = np.random.default_rng(zero_point)
    source, *maps = (Maps(rows=7, columns=9, channels=70) for _ in range(4))
    window = Window(kernel=(3, 3), edges=(1, 1, 1, 1)) if depthwise else Window(kernel=(1, 1))
    layer = convolution(random, source, maps[0], window, groups=70 if depthwise else 1)
    layer = dataclasses.replace(layer, zero_point=zero_point)
    factors = random.integers(128, 256, 70) / 2**13 if bfloat16 else 1 / random.integers(2, 128, 70)
    slopes = dataclasses.replace(
        convolution(random, maps[0], maps[1], Window(kernel=(1, 1)), groups=70),
        source_zero_point=zero_point, zero_point=zero_point, bias=np.zeros(70, np.int32),
        factors=factors.astype(np.float32),
    )  # fmt: skip
    larger = Maximum(node="prelu", target=maps[2], source=maps[0], other=maps[1])
    whole = plan(source, [layer, slopes, larger, end(random, maps[2])])
    assert len(fuse(whole).steps) == 2 or not bfloat16
    check(whole, random_maps(random, source))


def test_of_steps_without_weights() -> None:
    """Products with maps and with a gate, means, pools."""
    random = np.random.default_rng(3)
    source, copy, gated = (Maps(rows=6, columns=5, channels=7) for _ in range(3))
    gate = Maps(rows=1, columns=1, channels=7)
    window = Window(kernel=(3, 2), strides=(2, 1), edges=(1, 0, 1, 1))
    largest, average = Maps(rows=3, columns=5, channels=7), Maps(rows=2, columns=5, channels=7)
    levels = {"source_zero_point": 100, "zero_point": 30}
    product = {"other_zero_point": 7, "factor": np.float32(0.013)}
    steps: list[Step] = [
        Product(node="square", target=copy, source=source, other=source, **levels, **product),
        Mean(node="mean", target=gate, source=copy, factor=np.float32(0.05), **levels),
        Product(node="gate", target=gated, source=copy, other=gate, **levels, **product),
        MaxPool(node="largest", target=largest, source=gated, window=window),
        AveragePool(
            node="average", target=average, source=largest, window=window, counts_padding=False,
            source_scale=np.float32(0.07), scale=np.float32(0.05), **levels,
        ),
        end(random, average),
    ]  # fmt: skip
    check(plan(source, steps), random_maps(random, source, 4))


def test_threads_have_memory_of_their_own() -> None:
    random = np.random.default_rng(5)
    source, target = Maps(rows=28, columns=28, channels=3), Maps(rows=14, columns=14, channels=40)
    window = Window(kernel=(3, 3), strides=(2, 2), edges=(1, 1, 1, 1))
    native = NativePlan(plan(source, [convolution(random, source, target, window), end(random, target)]))
    images = random_maps(random, source, 64)
    wanted = native.run(native.new_memory(), images)
    found: list[NDArray[np.float32]] = []
    threads = [threading.Thread(target=lambda: found.append(native.run(native.new_memory(), images))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [embeddings.tobytes() for embeddings in found] == [wanted.tobytes()] * 4
