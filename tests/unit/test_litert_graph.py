"""Files for LiteRT: what is written of a student's integer steps is computed by LiteRT as EFQ's own reference says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import GRAPHS, faces, graph_of, make_graph_student
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize
from numpy.typing import NDArray

from efq.export import find_target
from efq.export.targets.litert.evidence import LITERT, XNNPACK, collect_litert_evidence
from efq.export.targets.litert.products import weight_scales
from efq.export.targets.litert.reference import litert_embedding
from efq.export.targets.litert.target import litert_file, litert_plan
from efq.export.targets.target import ExportOptions
from efq.runtime.errors import IncompatibleArtifactError, UsageError
from efq.runtime.litert.model import LiteRtModel
from efq.runtime.litert.model_check import check_litert
from efq.runtime.litert.model_file import read_litert_file
from efq.runtime.native.steps import Grid
from efq.toolchain.student import Student

pytest.importorskip("ai_edge_litert")

TARGET = find_target("litert")
PATH = Path("model.tflite")
IMAGES = random_images(6, seed=11).numpy()


def written(student: Student) -> tuple[bytes, NDArray[np.float32]]:
    """The file of a student, and the embeddings of `IMAGES` that LiteRT has to give of it."""
    model = TARGET.write(student).SerializeToString()
    content = litert_file(model, PATH)
    assert content == litert_file(model, PATH)
    return content, litert_embedding(litert_plan(model, PATH))(IMAGES)


@pytest.mark.parametrize("recipe", [{}, {"activation_bits": 6, "weight_bits": 6}], ids=["8 bits", "6 bits"])
@pytest.mark.parametrize("activation", ["relu", "leaky", "prelu"])
@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_those_of_the_reference(name: str, activation: str, recipe: dict[str, int]) -> None:
    content, wanted = written(make_student(randomize(NETWORKS[name]()), activation=activation, **recipe))
    model = LiteRtModel(PATH, threads=2, content=content)
    np.testing.assert_allclose(model.run(IMAGES), wanted, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.run(IMAGES[:1]), model.run(IMAGES)[:1])
    model.close()


@pytest.mark.parametrize("name", GRAPHS)
def test_gates_swishes_and_moves(name: str, tmp_path: Path) -> None:
    """Every multiply-add in integers, and the student's embeddings: the target's own check."""
    student = make_graph_student(graph_of(GRAPHS[name]()), images=16)
    images = faces(4, 32, 28, seed=7).numpy()
    prepared = TARGET.prepare(student, images, ExportOptions())
    checked = TARGET.check(prepared, TARGET.write(prepared.form), images, tmp_path, ExportOptions())
    assert checked.coverage is not None
    assert checked.coverage.multiply_adds.fraction == 1
    assert checked.coverage.float_islands == ()
    checked.add_files(tmp_path)
    check_litert((tmp_path / "model.tflite").read_bytes(), PATH)


def test_the_evidence_is_of_the_operators_that_the_file_has() -> None:
    content, _ = written(make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu"))
    evidence = collect_litert_evidence(content, PATH, images=IMAGES, runs=2)
    kinds = [operator.kind for operator in read_litert_file(content).operators]
    assert len(evidence.nodes) == len(kinds)
    taken = {kind: node.domain for kind, node in zip(kinds, evidence.nodes, strict=True)}
    assert {taken[kind] for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD")} <= {XNNPACK, LITERT}
    assert taken["CONV_2D"] == taken["DEPTHWISE_CONV_2D"] == XNNPACK
    assert taken["BATCH_MATMUL"] == LITERT
    assert all(node.microseconds > 0 for node in evidence.nodes)
    assert f"XNNPACK with {sum(node.domain == XNNPACK for node in evidence.nodes)} of {len(kinds)}" in evidence.runtime


def test_weights_get_the_scales_that_lead_to_the_factors_of_the_plan() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        source, target = (np.float32(scale) for scale in 2.0 ** random.uniform(-12, 2, 2))
        scales = (2.0 ** random.uniform(-14, 0, 256)).astype(np.float32)
        factors = (source * scales) / target
        found = weight_scales(factors, Grid(float(source), 0), Grid(float(target), 0))
        np.testing.assert_array_equal((source * found) / target, factors)


def test_a_graph_that_it_cannot_hold_is_named() -> None:
    with raises_naming(UsageError, "litert", "--full-range"):
        TARGET.prepare(make_student(randomize(NETWORKS["pooling"]())), IMAGES, ExportOptions(full_range=True))
    with raises_naming(IncompatibleArtifactError, "no-model"):
        litert_file(b"no model", Path("no-model"))
