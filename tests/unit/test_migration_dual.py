"""Galleries of two models, the scale that merges them, and the order in which faces change sides."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from galleries import draw_embeddings, make_gallery, model, turned, unit
from messages import raises_naming

from efq.runtime.errors import InputError, SchemaError, UsageError
from efq.runtime.gallery.dual import DualGallery, read_dual, write_dual
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord, SearchedBy
from efq.runtime.gallery.scale import ScoreScale, fit_scale, impostor_similarities
from efq.toolchain.migration.ordering import CENTRAL, MARGIN, RANDOM, order_by_map, order_rows


def make_dual(done: int = 30) -> tuple[DualGallery, Gallery, Gallery]:
    """`done` faces by the new model and the others by the old one; both galleries whole."""
    old = make_gallery(40, 2)
    record = GalleryRecord(model=model("new", size=48))
    new = Gallery.of(turned(old.embeddings, size=48, noise=0.3), old.people, old.faces, record)
    codes = np.unique(old.people, return_inverse=True)[1]
    dual = DualGallery(
        old=old.take(np.arange(done, len(old))),
        new=new.take(np.arange(done)),
        old_scale=fit_scale(impostor_similarities(old.embeddings, old.embeddings, codes)),
        new_scale=fit_scale(impostor_similarities(new.embeddings, new.embeddings, codes)),
    )
    return dual, old, new


def test_the_scale_is_the_share_of_strangers_as_alike() -> None:
    rows, people = draw_embeddings(400, 1, size=32)
    impostors = impostor_similarities(rows, rows, people)
    scale = fit_scale(impostors)
    for fmr in (0.1, 0.01, 1e-3):
        threshold = scale.cosine_of(-np.log10(fmr))
        assert (impostors > threshold).mean() == pytest.approx(fmr, rel=0.1)
    cosines = np.linspace(-1, 1, 1001)
    scores = scale.of(cosines)
    assert (np.diff(scores) > 0).all()
    assert ScoreScale.from_dict(scale.to_dict()) == scale
    with raises_naming(InputError, 999):
        fit_scale(np.linspace(0, 1, 999))
    with pytest.raises(InputError):
        fit_scale(np.zeros(5000))


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        {"cosines": 3, "scores": [1, 2]},
        {"cosines": [0, 0.5], "scores": [2, 1]},
        {"cosines": [0.5, 0.5], "scores": [1, 2]},
        {"cosines": [0, 5], "scores": [1, 2]},
        {"cosines": [0, True], "scores": [1, 2]},
        {"cosines": [0, float("nan")], "scores": [1, 2]},
        {"cosines": [0], "scores": [1]},
    ],
)
def test_scales_that_do_not_fit_are_refused(values: object) -> None:
    with pytest.raises(SchemaError):
        ScoreScale.from_dict(values)


@pytest.mark.parametrize("k", [1, 3, 100])
def test_merged_ranks_are_those_of_brute_force(k: int) -> None:
    dual, old, new = make_dual()
    old_probes = unit(old.embeddings + 0.3 * draw_embeddings(80, 1, seed=3)[0])
    new_probes = turned(old_probes, size=48)
    found = dual.search(new_probes, old_probes, k)
    waits = np.isin(old.faces, dual.old.faces)
    of_old = dual.old_scale.of(old_probes.astype(np.float64) @ old.embeddings.T.astype(np.float64))
    of_new = dual.new_scale.of(new_probes.astype(np.float64) @ new.embeddings.T.astype(np.float64))
    scores = np.where(waits, of_old, of_new)
    people = np.unique(old.people)
    best = np.stack([scores[:, old.people == person].max(axis=1) for person in people], axis=1)
    wanted = -np.sort(-best, axis=1)[:, :k]
    there = min(k, len(people))
    np.testing.assert_allclose(found.scores[:, :there], wanted, atol=1e-4)
    for row, names in enumerate(found.people[:, :there].tolist()):
        assert len(set(names)) == there
        np.testing.assert_allclose(best[row, np.searchsorted(people, names)], wanted[row], atol=1e-4)
    assert (found.people[:, there:] == "").all()


def test_probes_have_to_be_of_the_models(tmp_path: Path) -> None:
    dual, old, new = make_dual()
    assert dual.needs_old_probes
    with raises_naming(InputError, "both"):
        dual.search(new.embeddings)
    with pytest.raises(InputError):
        dual.search(new.embeddings[:3], old.embeddings[:2])
    with pytest.raises(InputError):
        DualGallery(old=old, new=new, old_scale=dual.old_scale, new_scale=dual.new_scale)
    bound = SearchedBy(
        model=new.record.model, thresholds={}, deployed={}, certificate_sha256="c" * 64, statement="they may"
    )
    record = dataclasses.replace(dual.old.record, searched_by=bound)
    alone = dataclasses.replace(dual, old=dataclasses.replace(dual.old, record=record))
    assert not alone.needs_old_probes
    with raises_naming(InputError, "alone"):
        alone.search(new.embeddings, old.embeddings)
    write_dual(tmp_path / "dual.npz", alone)
    again = read_dual(tmp_path / "dual.npz")
    assert not again.needs_old_probes
    assert again.old_scale == alone.old_scale
    np.testing.assert_array_equal(again.new.embeddings, alone.new.embeddings)
    content = (tmp_path / "dual.npz").read_bytes()
    (tmp_path / "dual.npz").write_bytes(content[: len(content) // 2])
    with raises_naming(InputError, tmp_path / "dual.npz"):
        read_dual(tmp_path / "dual.npz")


def test_people_most_at_risk_come_first_with_all_their_faces() -> None:
    rows, labels = draw_embeddings(20, 3, spread=0.3)
    rows[3 * 7 + 1] = unit(rows[3 * 7 + 1][None] + 2 * rows[3 * 4 + 2][None])[0]  # a face of 7 is nearly one of 4
    faces = [f"{label}/{place}" for place, label in enumerate(labels)]
    gallery = Gallery.of(rows, [f"p{label:02}" for label in labels], faces, GalleryRecord(model=model()))
    for measure in (CENTRAL, MARGIN, RANDOM):
        order = order_rows(gallery, measure, seed=1)
        assert sorted(order) == list(range(60))
        assert all(len(set(labels[order[start : start + 3]])) == 1 for start in range(0, 60, 3))
    assert labels[order_rows(gallery, MARGIN)[0]] == 7
    alike = (rows @ rows.T).mean(axis=1)
    assert labels[order_rows(gallery, CENTRAL)[0]] == labels[np.argmax(alike)]
    assert (order_rows(gallery, RANDOM, seed=1) != order_rows(gallery, RANDOM, seed=2)).any()
    with pytest.raises(UsageError):
        order_rows(gallery, "magic")


def test_what_a_map_of_those_drawn_does_not_tell_comes_first() -> None:
    old, people = draw_embeddings(100, 2)
    new = unit(old[:, :16])  # nothing is told of the others
    record = GalleryRecord(model=model())
    gallery = Gallery.of(old, [f"{person}" for person in people], [f"{place}" for place in range(200)], record)
    drawn = np.sort(np.random.default_rng(0).permutation(200)[:120])
    order = order_by_map(gallery, drawn, new[drawn])
    assert sorted(order) == list(range(200))
    told = np.linalg.norm(old[:, :16], axis=1)
    assert told[order[:50]].mean() < told[order[-50:]].mean() - 0.05
    few = order_by_map(gallery, drawn[:9], new[drawn[:9]])
    assert few.tolist() == order_rows(gallery, CENTRAL).tolist()
