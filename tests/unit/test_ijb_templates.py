"""Templates from images: the switches, and the averages of media."""

from __future__ import annotations

import numpy as np
import pytest
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime import UsageError
from efq.toolchain.evaluation.protocols.ijb.mode import DEFAULT_MODE, IjbMode
from efq.toolchain.evaluation.protocols.ijb.pooling import TemplatePool

Floats = NDArray[np.float32]


def unit(*degrees: float) -> Floats:
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def pooled(features: Floats, templates: list[int], medias: list[int]) -> Floats:
    pool = TemplatePool(max(templates) + 1)
    pool.add(features, np.array(templates), np.array(medias))
    return pool.features()[0]


def test_images_of_a_media_are_averaged_and_medias_added() -> None:
    """A video of two frames at 0 and 90 degrees, mean (1/2, 1/2), and a photo at 90, (0, 1): (1/2, 3/2)."""
    found = pooled(unit(0, 90, 90), [0, 0, 0], [7, 7, 8])
    assert found == pytest.approx(np.array([[0.5, 1.5]]) / np.hypot(0.5, 1.5))


def test_the_detector_weighs_images() -> None:
    """Scores 1, 1/2 and 1: the video is (1/2, 1/4), the template (1/2, 5/4)."""
    features = IjbMode.parse("N0D1F0").features(unit(0, 90, 90), None, np.array([1, 0.5, 1], np.float32))
    found = pooled(features, [0, 0, 0], [7, 7, 8])
    assert found == pytest.approx(np.array([[0.5, 1.25]]) / np.hypot(0.5, 1.25))


def test_mirror_images_are_added_or_appended() -> None:
    """0 and 60 degrees: the sum is at 30 and as long as the square root of 3."""
    plain, mirrored, scores = unit(0), unit(60), np.ones(1, np.float32)
    both = np.array([[1.5, np.sqrt(0.75)]])
    assert IjbMode.parse("N1D0F2").features(plain, mirrored, scores) == pytest.approx(both)
    assert IjbMode.parse("N0D0F2").features(plain, mirrored, scores) == pytest.approx(both / np.sqrt(3))
    appended = np.concatenate([plain, mirrored], axis=1) / np.sqrt(2)
    assert IjbMode.parse("N0D0F1").features(plain, mirrored, scores) == pytest.approx(appended)
    assert IjbMode.parse("N0D0F0").features(plain, None, scores) == pytest.approx(plain)


def image2template_feature(features: Floats, templates: NDArray[np.int64], medias: NDArray[np.int64]) -> Floats:
    """InsightFace's, said again image by image."""
    grouped: dict[int, dict[int, list[Floats]]] = {}
    for feature, template, media in zip(features, templates, medias, strict=True):
        grouped.setdefault(int(template), {}).setdefault(int(media), []).append(feature)
    rows = []
    for template in sorted(grouped):
        total = sum(sum(frames) / len(frames) for frames in grouped[template].values())
        rows.append(np.asarray(total) / np.sqrt(np.sum(np.asarray(total) ** 2)))
    return np.stack(rows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_equals_the_reference_in_batches_of_any_size(seed: int, batch: int) -> None:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(200, 5)).astype(np.float32)
    templates, medias = draw.integers(0, 12, 200), draw.integers(0, 4, 200)
    order = np.lexsort((medias, templates))
    pool = TemplatePool(12)
    for start in range(0, 200, batch):
        rows = order[start : start + batch]
        pool.add(features[rows], templates[rows], medias[rows])
    found, enrolled = pool.features()
    assert enrolled.all()
    assert found == pytest.approx(image2template_feature(features, templates, medias), abs=1e-6)


def test_a_template_without_images_or_weight_is_not_enrolled() -> None:
    pool = TemplatePool(3)
    pool.add(unit(10, 20) * np.array([[1], [0]], np.float32), np.array([0, 2]), np.array([1, 1]))
    found, enrolled = pool.features()
    assert enrolled.tolist() == [True, False, False]
    assert found[1:].tolist() == [[0, 0], [0, 0]]
    assert not TemplatePool(2).features()[1].any()


def test_names_of_the_switches() -> None:
    for name in (DEFAULT_MODE, "N0D0F0", "N0D1F1", "n0d1f2"):
        assert IjbMode.parse(name).name == name.upper()
    for name in ("", "NDF", "N1D1F3", "N2D0F0", "N0D0", "N1D1F2x", "N0 D0 F0", "N\u0660D0F0", "N1" * 100):
        with raises_naming(UsageError, DEFAULT_MODE):
            IjbMode.parse(name)
    for name in ("N1D0F0", "N1D1F1"):
        with raises_naming(UsageError, name, "N1"):
            IjbMode.parse(name)
