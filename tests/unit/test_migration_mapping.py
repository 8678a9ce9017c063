"""Maps between two models: recovered where one is there, measured honestly where it is not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from galleries import draw_embeddings, make_gallery, model, turned, unit
from messages import raises_naming

from efq.runtime.errors import GateError, InputError
from efq.toolchain.evaluation.figures.search import search_scores
from efq.toolchain.migration.map_certificate import certify_maps, check_map
from efq.toolchain.migration.mapping import KINDS, cosines, fit_map, fit_orthogonal, fold_rows, out_of_fold
from efq.toolchain.migration.open_set import draw_open_set, scores_of
from efq.toolchain.migration.ordering import CENTRAL, order_by_map, order_rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 48])
def test_a_rotation_is_recovered(kind: str, size: int) -> None:
    old, people = draw_embeddings(80, 3)
    noise = 0.2
    new = turned(old, size=size, noise=noise)
    fitted = fit_map(kind, old, new, people)
    others, _ = draw_embeddings(50, 2, seed=9)
    exact = turned(others, size=size)
    assert cosines(fitted.apply(others), exact).min() > 0.99
    assert fit_map(kind, old, turned(old, size=size), people).apply(others) == pytest.approx(exact, abs=2e-3)


def test_an_orthogonal_map_is_orthogonal_and_the_nearest() -> None:
    old, _ = draw_embeddings(60, 2, size=12)
    new = turned(old, noise=0.5)
    fitted = fit_orthogonal(old, new)
    np.testing.assert_allclose(fitted.matrix @ fitted.matrix.T, np.eye(12), atol=1e-12)
    first, second = old - old.mean(0), new - new.mean(0)
    least = np.square(first @ fitted.matrix - second).sum()
    for seed in range(20):  # a little further turned is a little worse
        small = np.linalg.qr(np.eye(12) + 0.05 * np.random.default_rng(seed).normal(size=(12, 12)))[0]
        small *= np.sign(np.diag(small))
        assert np.square(first @ fitted.matrix @ small - second).sum() >= least


def test_a_narrower_model_is_mapped_as_well_as_it_can_be() -> None:
    old, people = draw_embeddings(80, 3, size=24)
    new = unit(old[:, :10])
    fitted = fit_map("ridge", old, new, people)
    assert cosines(fitted.apply(old), new).mean() > 0.97
    lengths = fitted.lengths(old)
    assert np.corrcoef(lengths, cosines(fitted.apply(old), new))[0, 1] > 0  # the length tells how sure it is


def test_folds_part_people() -> None:
    people = np.repeat(np.arange(23), 4)
    tested = np.zeros(len(people), int)
    for fitted, held in fold_rows(people):
        assert not set(people[fitted]) & set(people[held])
        tested[held] += 1
    assert (tested == 1).all()
    with raises_naming(InputError, 5, 3):
        list(fold_rows(np.arange(3)))


def test_faces_that_the_map_was_fitted_on_are_no_measure() -> None:
    """Unrelated models: fitted on the same faces it looks like something, cross-validated like nothing."""
    old, people = draw_embeddings(30, 2)
    new, _ = draw_embeddings(30, 2, seed=5)
    fitted = fit_map("ridge", old, new, people)
    assert cosines(fitted.apply(old), new).mean() > 0.3
    assert cosines(out_of_fold("ridge", old, new, people), new).mean() < 0.15


def test_the_certificate_counts_what_is_lost() -> None:
    old, people = draw_embeddings(150, 4, size=64)
    models = model("old", size=64), model("new", size=64)
    best, _ = certify_maps(old, turned(old), people, models)[0]
    check_map(best, 0.1)
    assert abs(best.loss) <= 0.1
    assert (best.faces, best.identities, best.enrolled) == (600, 150, 100)
    assert json.loads(json.dumps(best.to_dict()))["fnmr"][0]["rate"] == 0.01
    other = draw_embeddings(600, 1, size=64, seed=4)[0]
    near, far = (certify_maps(unit(old + part * other), turned(old), people, models) for part in (0.1, 2.0))
    assert near[0][0].loss <= near[1][0].loss < far[0][0].loss
    with raises_naming(GateError, "--max-loss", "--by"):
        check_map(far[0][0], 0.5)
    with pytest.raises(InputError):
        certify_maps(old[::4], old[::4], people[::4], models)  # no genuine pair
    with raises_naming(InputError, 10, 6):
        certify_maps(old[:24], old[:24], people[:24], models)  # six people
    with raises_naming(InputError, "new"):
        certify_maps(old, np.repeat(old[:1], len(old), axis=0), people, models)


def test_a_search_of_scores_is_that_of_embeddings() -> None:
    rows, people = draw_embeddings(40, 3, spread=1.5)
    chosen = draw_open_set(people, seed=2)
    assert not set(chosen.enrolled) & set(chosen.probes)
    assert len(chosen.enrolled) + len(chosen.probes) == len(rows)
    enrolled, probes = chosen.enrolled, chosen.probes
    wanted = search_scores(rows[enrolled], people[enrolled], rows[probes], people[probes])
    found = scores_of(rows[probes] @ rows[enrolled].T, chosen)
    assert found.enrolled == wanted.enrolled == round(40 * 2 / 3)
    np.testing.assert_allclose(np.sort(found.mate), np.sort(wanted.mate), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.other), np.sort(wanted.other), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.nonmate), np.sort(wanted.nonmate), atol=1e-6)
    assert sorted(found.rank) == sorted(wanted.rank)


def test_few_people_are_ordered_without_a_map() -> None:
    gallery = make_gallery(3, 20)
    order = order_by_map(gallery, np.arange(60), gallery.embeddings)
    assert (order == order_rows(gallery, CENTRAL)).all()
