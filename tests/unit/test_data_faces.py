from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from messages import names, raises_naming
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.toolchain.data import FaceSet, FaceSource, open_faces
from efq.toolchain.data.selection import select_images

CONTRACT = InputContract(height=16, width=16)
PATHS = ("set/ann/1.png", "set/ann/2.PNG", "set/bob/1.jpg")


def draw(seed: int, size: int = 16) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def save(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EFQ_CACHE", str(folder))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "faces"
    for seed, path in enumerate(PATHS):
        save(root / path, draw(seed))
    (root / "README.md").write_text("not an image")
    return root


def open_small(faces: Path | FaceSource, **options: object) -> FaceSet:
    return open_faces(faces, contract=CONTRACT, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("cached", [True, False])
def test_images_labels_and_hashes(root: Path, cached: bool) -> None:
    faces = open_small(root, cache=cached)
    assert faces.paths == PATHS
    assert faces.identities == ("set/ann", "set/bob")
    assert faces.labels.tolist() == [0, 0, 1]
    assert faces.hashes == tuple(hashlib.sha256((root / path).read_bytes()).hexdigest() for path in PATHS)
    assert faces.short_hashes == {value[:16] for value in faces.hashes}
    np.testing.assert_array_equal(faces.images[:2], [draw(0), draw(1)])
    assert faces.images.shape == (3, 16, 16, 3)
    assert faces.unreadable == ()


def test_decoded_once_until_a_file_changes(root: Path, cache: Path) -> None:
    first = open_small(root)
    files = list(cache.iterdir())
    assert len(files) == 1
    assert open_small(root).hashes == first.hashes
    assert list(cache.iterdir()) == files
    save(root / PATHS[0], draw(9))
    np.testing.assert_array_equal(open_small(root).images[0], draw(9))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("cached", [True, False])
def test_unreadable_images_are_named_and_skipped(root: Path, caplog: pytest.LogCaptureFixture, cached: bool) -> None:
    (root / PATHS[1]).write_bytes(b"no image")
    (root / "set/ann/empty.jpg").write_bytes(b"")
    faces = open_small(root, cache=cached)
    assert faces.paths == (PATHS[0], PATHS[2])
    assert faces.unreadable == (PATHS[1], "set/ann/empty.jpg")
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    names(warning.getMessage(), 2, root, PATHS[1], "set/ann/empty.jpg")
    np.testing.assert_array_equal(faces.images[0], draw(0))
    assert len(faces.images) == len(faces.labels) == 2


def test_nothing_but_unreadable_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "faces" / "ann").mkdir(parents=True)
    (tmp_path / "faces" / "ann" / "1.jpg").write_bytes(b"no image")
    with raises_naming(InputError, tmp_path / "faces", 1):
        open_small(tmp_path / "faces")


def test_images_of_another_size(root: Path, cache: Path) -> None:
    save(root / "set/bob/2.png", draw(5, size=20))
    with raises_naming(InputError, root, "16x16", 1, "set/bob/2.png", "20x20", "--resize"):
        open_small(root)
    assert not list(cache.iterdir())
    faces = open_small(root, resize=True)
    assert faces.images.shape == (4, 16, 16, 3)


def test_square_faces_are_cut_for_a_narrow_template(root: Path) -> None:
    narrow = InputContract(height=112, width=96, alignment="arcface-112x96")
    drawn = {path: draw(seed, size=7).repeat(16, 0).repeat(16, 1) for seed, path in enumerate(PATHS)}
    for path, face in drawn.items():
        save(root / path, face)
    faces = open_faces(root, contract=narrow, resize=True)
    wanted = np.stack([drawn[path][:, 8:104] for path in faces.paths])
    assert np.abs(faces.images.astype(int) - wanted).mean() < 8


def test_a_folder_without_faces(tmp_path: Path) -> None:
    with raises_naming(InputError, tmp_path / "missing"):
        open_small(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with raises_naming(InputError, tmp_path / "empty", *IMAGE_SUFFIXES):
        open_small(tmp_path / "empty")


def test_a_file_of_no_known_format(tmp_path: Path) -> None:
    (tmp_path / "faces.abc").write_bytes(b"abc")
    with raises_naming(InputError, tmp_path / "faces.abc", "folder"):
        open_small(tmp_path / "faces.abc")


def test_faces_outside_identity_folders(root: Path) -> None:
    save(root / "loose.png", draw(7))
    with raises_naming(InputError, root, 1, "loose.png"):
        open_small(root)


def test_listing_restricts(root: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{PATHS[2]}\t1\n\n{PATHS[0]}\n{PATHS[0]}\n")
    assert open_small(root, listing=listing).paths == (PATHS[0], PATHS[2])


@pytest.mark.parametrize("line", ["set/ann/none.png", "../faces/set/ann/1.png", "/etc/hostname"])
def test_listing_names_the_wrong_line(root: Path, tmp_path: Path, line: str) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{PATHS[0]}\n{line}\n")
    with raises_naming(InputError, listing, "line 2", repr(line)):
        open_small(root, listing=listing)


def test_empty_and_binary_listings(root: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    for data in (b"\n \n", b"\xff\xfe\x00"):
        listing.write_bytes(data)
        with raises_naming(InputError, listing):
            open_small(root, listing=listing)


def test_max_images_is_a_part_of_the_whole(root: Path) -> None:
    assert open_small(root, max_images=2).paths == PATHS[:2]
    assert open_small(root, max_images=99).paths == PATHS


class Drawn:
    """Faces that lie nowhere, one of them of nobody known."""

    name = "drawn faces"

    def __init__(self, images: dict[str, bytes]) -> None:
        self.images, self.reads = images, 0

    def keys(self) -> tuple[str, ...]:
        return tuple(self.images)

    def __contains__(self, key: str, /) -> bool:
        return key in self.images

    def identity(self, key: str) -> str:
        return key.rstrip("0123456789")

    def fingerprint(self, key: str) -> tuple[str | int, ...]:
        return (hashlib.sha256(self.images[key]).hexdigest(),)

    def read(self, key: str) -> bytes:
        self.reads += 1
        return self.images[key]


def test_a_source_without_files(root: Path, tmp_path: Path) -> None:
    """Keys need not be paths of files: labels come from the source, and each image is read once, then cached."""
    source = Drawn({key: (root / path).read_bytes() for key, path in zip(("ann0", "ann1", "bob0"), PATHS, strict=True)})
    for reads in (3, 3):
        faces = open_small(source)
        assert source.reads == reads
        assert (faces.source, faces.paths) == ("drawn faces", ("ann0", "ann1", "bob0"))
        assert faces.identities == ("ann", "bob")
        assert faces.labels.tolist() == [0, 0, 1]
        np.testing.assert_array_equal(faces.images, open_small(root).images)
    listing = tmp_path / "list.txt"
    listing.write_text("bob0\nann1\n")
    assert open_small(source, listing=listing).paths == ("ann1", "bob0")
    source.images["ann1"] = source.images["ann0"]
    np.testing.assert_array_equal(open_small(source).images[1], faces.images[0])
    source.images["7"] = source.images["ann0"]
    with raises_naming(InputError, "drawn faces", 1, 7):
        open_small(source)


def test_selection_keeps_identities_whole() -> None:
    labels = np.repeat(np.arange(100), [5] * 40 + [1] * 60)
    chosen = select_images(labels, 50, seed=0)
    assert len(np.unique(chosen)) == 50
    assert (np.unique(labels[chosen], return_counts=True)[1] == 5).all()
    assert np.array_equal(chosen, select_images(labels, 50, seed=0))
    assert not np.array_equal(chosen, select_images(labels, 50, seed=1))
    assert np.bincount(labels[select_images(labels, 230, seed=0)])[:40].tolist() == [5] * 40
    assert len(select_images(labels, 3, seed=0)) == 3
    assert len(select_images(np.repeat([0, 1], 9), 4, seed=0)) == 4
    assert len(select_images(labels, 1000, seed=0)) == 260


@pytest.mark.faces
def test_the_development_split(faces_root: Path) -> None:
    faces = open_faces(faces_root, listing=faces_root / "splits" / "dev.txt", max_images=300)
    assert faces.images.shape == (300, 112, 112, 3)
    assert np.bincount(faces.labels).min() >= 1
