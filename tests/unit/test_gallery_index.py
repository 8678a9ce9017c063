"""The index of bytes: nobody who could be among the best is left out, by numpy's products or faiss's."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from galleries import draw_embeddings, unit
from numpy.typing import NDArray

from efq.runtime.gallery.stores.index import int8_index
from efq.runtime.gallery.stores.index.chunk import Chunk, FaissChunk, has_faiss
from efq.runtime.gallery.stores.index.exact import Fetched, exact_search
from efq.runtime.gallery.stores.index.grid import Grid, probe_codes
from efq.runtime.gallery.stores.index.int8_index import Int8Index
from efq.runtime.gallery.stores.ranking import ranked, similarities

KINDS = [
    pytest.param(False, id="numpy"),
    pytest.param(
        True, id="faiss", marks=pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="faiss-cpu is missing")
    ),
]
Rows = NDArray[np.float32]
Keys = NDArray[np.int64]


@pytest.fixture(params=[64, 1 << 16], ids=["small chunks", "one chunk"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_index, "_LEAST_ROWS", min(1024, request.param))
    monkeypatch.setattr(int8_index, "_MOST_ROWS", request.param)


def expect_sure(
    index: Int8Index, alive: NDArray[np.int64], rows: Rows, groups: NDArray[np.int64], probes: Rows
) -> None:
    """Candidates hold all that are as similar as the k-th group or more; no other is as similar as `left_out`."""
    for k in (1, 3, 100):
        for probe, found in zip(probes, index.candidates(probes, k), strict=True):
            scores = similarities(rows, probe)
            best = np.full(groups.max() + 1, -np.inf)
            np.maximum.at(best, groups[alive], scores[alive])
            kth = np.sort(best)[-k] if np.isfinite(best).sum() >= k else -np.inf
            assert np.isin(alive[scores[alive] >= kth], found.keys).all()
            left = np.setdiff1d(alive, found.keys)
            assert not len(left) or scores[left].max() < found.left_out <= kth


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("faiss", KINDS)
@pytest.mark.parametrize("size", [1, 3, 50, 128, 512])
def test_nobody_is_left_out(faiss: bool, size: int) -> None:
    rows, groups = draw_embeddings(200, 3, size=size, spread=0.8)
    index = Int8Index(size, Grid.fitted(rows), faiss=faiss)
    keys = np.arange(600)
    for part in np.array_split(keys, 7):
        index.put(part, groups[part], rows[part])
    probes = draw_embeddings(12, 1, size=size, seed=4)[0]
    expect_sure(index, keys, rows, groups, probes)
    gone = keys[::7]
    index.remove(gone)
    assert len(index) == 600 - len(gone)
    alive = np.setdiff1d(keys, gone)
    expect_sure(index, alive, rows, groups, probes)
    expect_sure(index, alive, rows, groups, probes[:1])
    index.put(gone, groups[gone], rows[gone])
    expect_sure(index, keys, rows, groups, probes[:2])
    index.remove(keys)
    assert len(index) == 0
    assert not len(index.candidates(probes[:1], 1)[0].keys)


@pytest.mark.parametrize("faiss", KINDS)
def test_rows_unlike_those_it_was_made_for(faiss: bool) -> None:
    """Far beyond the grid: they are always candidates, and do not make it less sure of the others."""
    rows, groups = draw_embeddings(300, 1, size=128)
    spiky = np.eye(128, dtype=np.float32)[:40]
    every = np.concatenate([rows, spiky])
    index = Int8Index(128, Grid.fitted(rows), faiss=faiss)
    index.put(np.arange(340), np.arange(340), every)
    probes = np.concatenate([spiky[:3], rows[:3], unit(spiky[:3] + 0.3 * rows[:3])])
    expect_sure(index, np.arange(340), every, np.arange(340), probes)
    assert len(index.candidates(rows[:1], 1)[0].keys) < 60
    assert not index.is_misfit
    index.put(np.arange(340, 680), np.arange(340, 680), np.resize(spiky, (340, 128)))
    assert index.is_misfit
    index.remove(np.arange(300, 680))
    assert len(index) == 300
    assert not index.is_misfit
    assert groups.max() == 299


@pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="faiss-cpu is missing")
@pytest.mark.parametrize("size", [1, 8, 15, 16, 17, 100, 512, 1000])
def test_faiss_multiplies_bytes_exactly(size: int) -> None:
    """The products and their order are those of int64, at both ends of the range too."""
    generator = np.random.default_rng(size)
    codes = generator.integers(-127, 128, (500, size)).astype(np.int8)
    codes[:4] = [[127], [-127], [0], [-1]]
    probes = np.concatenate(
        [generator.integers(-127, 128, (5, size)), np.full((1, size), -127), np.full((1, size), 127)]
    )
    chunk = FaissChunk(700, size)
    chunk.put(np.arange(500), np.arange(500), np.arange(500), codes)
    plain = Chunk(700, size)
    plain.put(np.arange(500), np.arange(500), np.arange(500), codes)
    exact = codes.astype(np.int64) @ probes.astype(np.int64).T
    for one in (chunk, plain):
        for place, (products, rows) in enumerate(zip(*one.top(probes.astype(np.float32), 40), strict=True)):
            assert (products == exact[rows, place]).all()
            assert (products == np.sort(exact[:, place])[::-1][:40]).all()
        blocks = np.concatenate([block for _, block in one.scores(probes.astype(np.float32))], axis=1)
        assert (blocks == exact.T).all()


@pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="faiss-cpu is missing")
def test_faiss_is_taken_where_it_is() -> None:
    assert has_faiss()
    rows, _ = draw_embeddings(20_000, 1, size=16)
    for expected, kinds in ((20_000, [FaissChunk]), (3000, [Chunk] * 3 + [FaissChunk])):
        index = Int8Index(16, Grid.for_size(16), expected=expected)
        for part in np.array_split(np.arange(20_000), 10):
            index.put(part, part, rows[part])
        assert [type(chunk) for chunk in index._chunks] == kinds
        probe = rows[19_990:19_991]
        scores = similarities(rows, probe[0])
        (found,) = index.candidates(probe, 3)
        assert set(np.argsort(-scores)[:3]) <= set(found.keys.tolist())


def test_what_a_probe_loses_is_known() -> None:
    probes = draw_embeddings(20, 1, size=64)[0]
    codes, steps, residuals = probe_codes(probes)
    assert (codes == np.rint(codes)).all()
    assert np.abs(codes).max() == 127
    off = np.linalg.norm(probes - codes * steps[:, None], axis=1)
    assert (off <= residuals).all()
    assert (residuals <= off * 1.001).all()


def test_rows_that_go_meanwhile_lead_to_another_try() -> None:
    rows, _ = draw_embeddings(200, 1, size=64)
    index = Int8Index(64, Grid.fitted(rows))
    keys = np.arange(200)
    index.put(keys, keys, rows)
    probe = rows[:1]
    gone = np.argsort(-similarities(rows, probe[0]))[:50]

    def fetch(wanted: NDArray[np.int64]) -> Fetched:
        index.remove(gone)
        there = np.setdiff1d(wanted, gone)
        return Fetched(keys=there, rows=rows[there], people=[f"{key:03}" for key in there], faces=[""] * len(there))

    (found,) = exact_search(index, fetch, probe, 3, "best")
    left = np.setdiff1d(keys, gone)
    wanted = ranked([f"{key:03}" for key in left], [""] * 150, similarities(rows[left], probe[0]), 3, "best")
    assert found == wanted
