"""One photo in other pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import draw_faces
from numpy.typing import NDArray

from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.toolchain.data import open_faces
from efq.toolchain.data.duplicates import find_duplicates
from efq.toolchain.data.near_duplicates import (
    MOST_BITS,
    near_any,
    near_groups,
    near_hashes,
    near_pairs,
    pack_hashes,
    stored_hashes,
    unpack_hashes,
)

Images = NDArray[np.uint8]
FACES = drawn_faces(12)


def each(change: Callable[[Images], Images]) -> Callable[[Images], Images]:
    return lambda images: np.stack([change(image) for image in images])


def jpeg(quality: int) -> Callable[[Images], Images]:
    def change(image: Images) -> Images:
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)

    return change


def resize(image: Images, height: int, width: int) -> Images:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


CHANGES: dict[str, Callable[[Images], Images]] = {
    "JPEG 95": each(jpeg(95)),
    "JPEG 75": each(jpeg(75)),
    "JPEG 50": each(jpeg(50)),
    "96 pixels": each(lambda image: resize(resize(image, 96, 96), 112, 112)),
    "half the size": each(lambda image: resize(image, 56, 56)),
    "twice the size": each(lambda image: resize(image, 224, 224)),
    "cut by 2 %": each(lambda image: resize(image[2:-2, 2:-2], 112, 112)),
    "brighter": lambda images: np.clip(images * 1.2, 0, 255).astype(np.uint8),
    "darker": lambda images: (images * 0.6).astype(np.uint8),
    "gray": lambda images: np.repeat(images.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8),
    "mirrored": lambda images: np.ascontiguousarray(images[:, :, ::-1]),
    "mirrored, cut, JPEG 75": each(lambda image: jpeg(75)(resize(image[2:-2, -3:1:-1], 112, 112))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_photo_is_known_again(change: str) -> None:
    """In either direction, and no other is."""
    hashes, changed = near_hashes(FACES), near_hashes(CHANGES[change](FACES))
    for one, other in ((hashes, changed), (changed, hashes)):
        assert near_pairs(one, stored_hashes(other)).all()
        assert not near_pairs(one, np.roll(stored_hashes(other), 1, axis=0)).any()
    np.testing.assert_array_equal(near_groups(np.concatenate([hashes, changed])), [*range(12), *range(12)])
    assert near_any(changed, unpack_hashes(pack_hashes(hashes))).all()
    assert not near_any(changed[:6], unpack_hashes(pack_hashes(hashes[6:]))).any()


def test_signs_are_those_of_the_cosine_transform() -> None:
    """Against OpenCV's transform of the middle of an image; frequencies in the order of docs/lab/near-duplicates.md."""
    face = FACES[0]
    gray = (face.astype(np.float64) @ [0.299, 0.587, 0.114])[4:-4, 4:-4]
    wanted = cv2.dct(gray)
    by_size = sorted((r * r + c * c, (r, c)) for r in range(24) for c in range(24) if r + c)
    order = [at for odd in (0, 1) for at in [at for _, at in by_size if at[1] % 2 == odd][:128]]
    signs = np.unpackbits(stored_hashes(near_hashes(face[None])))
    values = np.array([wanted[at] for at in order])
    clear = np.abs(values) > 1
    assert clear.sum() > 200
    np.testing.assert_array_equal(signs[clear], values[clear] > 0)


def distance(windows: Images, stored: Images) -> int:
    """In plain Python."""
    least = 256
    for window in windows:
        bits = [int(byte).bit_count() for byte in window ^ stored]
        symmetric, sided = sum(bits[:16]), sum(bits[16:])
        least = min(least, symmetric + sided, symmetric + 128 - sided)
    return least


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.booleans()), min_size=1, max_size=12))
def test_groups_are_those_of_every_pair(images: list[tuple[int, int, bool]]) -> None:
    """Against each with each, of hashes that differ from one of four in some bits, mirrored or not."""
    generator = np.random.default_rng(0)
    bases = generator.integers(0, 256, (4, 32), dtype=np.uint8)
    rows = []
    for base, changed, mirrored in images:
        bits = np.unpackbits(bases[base])
        bits[generator.choice(256, changed, replace=False)] ^= 1
        bits[128:] ^= mirrored
        rows.append(np.packbits(bits))
    hashes = np.repeat(np.stack(rows)[:, None], 3, axis=1)
    count = len(rows)
    wanted = list(range(count))
    for one in range(count):
        for other in range(one + 1, count):
            if distance(hashes[one], rows[other]) <= MOST_BITS:
                low, high = sorted((wanted[one], wanted[other]))
                wanted = [low if group == high else group for group in wanted]
    assert near_groups(hashes).tolist() == wanted
    assert near_any(hashes, np.stack(rows)).all()


def test_images_without_contrast_are_like_none() -> None:
    blank = np.full((4, 112, 112, 3), 80, np.uint8)
    blank[2:, :56] = 82
    hashes = near_hashes(blank)
    assert not hashes.any()
    assert near_groups(hashes).tolist() == [0, 1, 2, 3]
    assert pack_hashes(hashes) == b""
    assert not near_any(hashes, stored_hashes(hashes)).any()
    assert not near_any(near_hashes(FACES), unpack_hashes(b"")).any()


def test_many_copies_take_no_more_memory() -> None:
    hashes = np.repeat(near_hashes(FACES[:1]), 1500, axis=0)
    assert not near_groups(hashes).any()


def test_noisy_drawings_of_one_pattern_are_different_images() -> None:
    """As the other tests take them for photos of one person."""
    assert near_groups(near_hashes(draw_faces(8, 6))).tolist() == list(range(48))


def test_groups_with_equal_pixels_are_joined() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    near = np.array([0, 0, 2, 2, 4, 5, 6])
    found = find_duplicates(["a", "b", "c", "d", "e", "f", "f"], labels, near)
    assert found.of_several == ((2, 3),)
    assert found.of_one == ((5, 6),)
    assert found.near == ((0, 1), (5, 6))
    assert (found.copies.tolist(), found.near_copies.tolist(), found.near_pairs) == ([6], [1], 1)


def test_a_photo_under_two_people_compressed_anew_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for place, face in enumerate(drawn_faces(24)):
        folder = tmp_path / f"p{place // 3}"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{place}.png"), face[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "p3" / "stray.jpg"), FACES[0][:, ::-1, ::-1])
    cv2.imwrite(str(tmp_path / "p3" / "own.jpg"), FACES[10][:, :, ::-1])
    with caplog.at_level(logging.INFO):
        faces = open_faces(tmp_path, cache=False)
    assert sorted({f"p{place // 3}/{place}.png" for place in range(1, 24)} | {"p3/own.jpg"}) == sorted(faces.paths)
    assert "p3/stray.jpg" in caplog.text
    assert "1 images are copies" in caplog.text
