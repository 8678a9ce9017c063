"""Images of every form are their first picture, turned as EXIF says; what is no whole image of one is refused."""

from __future__ import annotations

import io
import os
import random
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from fuzz_images import attempt, image_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import FACE, FORMS, OTHER_FORMS, image_file, pixels
from messages import names, raises_naming
from PIL import Image, ImageOps

from efq.runtime import UnreadableImageError
from efq.runtime.faces.formats.jpeg import frame_of, scans_of
from efq.runtime.faces.formats.lzw import lzw_length
from efq.runtime.faces.formats.problem import DamagedImageError
from efq.runtime.faces.images import MOST_PIXELS, decode_image, image_orientation, read_image

JPEGS = [form for form in FORMS if form.startswith("jpeg")]
ORIENTED = {"jpeg": "jpeg", "png": "png", "webp": "webp-lossless", "tiff": "tiff"}
FILES = image_files()


def refused(data: bytes, *facts: object) -> None:
    with raises_naming(UnreadableImageError, "face.jpg", *facts):
        decode_image(data, name="face.jpg")


def is_refused(data: bytes) -> bool:
    try:
        decode_image(data, name="face")
    except UnreadableImageError:
        return True
    return False


def near(first: np.ndarray, second: np.ndarray) -> bool:
    """Equal but for what decoders of lossy formats may round otherwise."""
    return first.shape == second.shape and float(np.abs(first.astype(int) - second).mean()) < 2


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_its_first_picture(form: str) -> None:
    image = decode_image(image_file(form), name=form)
    assert image.flags.c_contiguous
    assert near(image, pixels(image_file(form)))


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_forms_are_named(form: str) -> None:
    refused(image_file(form), form.partition("-")[0].upper())


def test_sixteen_bits_become_eight_and_transparency_is_ignored() -> None:
    wide = FACE.astype(np.uint16) * 257
    clear = np.dstack([FACE, np.zeros_like(FACE[:, :, :1])])
    for suffix in (".png", ".tiff"):
        data = cv2.imencode(suffix, wide[:, :, ::-1])[1].tobytes()
        np.testing.assert_array_equal(decode_image(data, name="face"), FACE)
    for form in ("PNG", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(clear).save(buffer, form, lossless=True, exact=True)
        np.testing.assert_array_equal(decode_image(buffer.getvalue(), name="face"), FACE)


def test_an_interlaced_png() -> None:
    """Adam7, written by hand, as neither Pillow nor OpenCV writes it."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in FACE[y::dy, x::dx])

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    def png(rows: bytes) -> bytes:
        header = chunk(b"IHDR", (112).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\x01")
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    np.testing.assert_array_equal(decode_image(png(rows), name="face"), FACE)
    refused(png(rows[:-1]), "PNG")


@pytest.mark.parametrize("form", ORIENTED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_unless_it_is_ignored(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    picture = FACE[:100]  # not square
    data = image_file(ORIENTED[form], picture, exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert near(decode_image(data, name=form), shown)
    assert near(decode_image(data, name=form, exif_orientation=False), picture)
    assert image_orientation(data, name=form) == orientation


@pytest.mark.parametrize("form", JPEGS)
def test_a_jpeg_that_is_cut_and_closed_is_damaged(form: str) -> None:
    data = image_file(form)
    start = data.index(b"\xff\xda") + 14
    for place in random.Random(0).sample(range(start, len(data) - 3), 40):
        refused(data[:place] + b"\xff\xd9", "JPEG")


@pytest.mark.parametrize("form", JPEGS)
def test_holes_in_a_jpeg_are_found(form: str) -> None:
    """Nearly all of 600 bytes; of 60 two thirds and more, as others leave the codes in step (docs/photos.md)."""
    data = image_file(form)
    start = data.index(b"\xff\xda") + 14
    for size, least in ((600, 0.95), (60, 0.66)):
        caught = []
        for place in random.Random(0).sample(range(start, len(data) - size - 2), 30):
            for filling in (b"", bytes(size), random.Random(place).randbytes(size)):
                try:
                    decode_image(data[:place] + filling + data[place + size :], name="face")
                except UnreadableImageError:
                    caught.append(True)
                else:
                    caught.append(False)
        assert np.mean(caught) >= least


@pytest.mark.parametrize("form", [form for form in JPEGS if form != "jpeg-progressive"])
def test_a_hole_of_zeros_in_a_jpeg_is_always_found(form: str) -> None:
    """Zeros are codes that many tables have, of coefficients that are all the same."""
    data = image_file(form)
    start = data.index(b"\xff\xda") + 14
    for place in random.Random(0).sample(range(start, len(data) - 102), 60):
        refused(data[:place] + bytes(100) + data[place + 100 :], "JPEG")


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255])
@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith(("jpeg", "tiff-lzw"))])
def test_flat_pictures_have_no_holes(form: str, value: int) -> None:
    """Their data is nearly all zeros, with optimized tables, and the longest strings of LZW."""
    picture = np.full((600, 600, 3), value, np.uint8)
    assert near(decode_image(image_file(form, picture), name="face"), pixels(image_file(form, picture)))


def test_lzw_of_noise_and_of_many_rows() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1500, 70, 3), dtype=np.uint8)
    data = image_file("tiff-lzw", picture)
    np.testing.assert_array_equal(decode_image(data, name="face"), picture)
    middle = len(data) // 2
    refused(data[:middle] + b"\xff" * 40 + data[middle + 40 :], "TIFF")


def test_data_that_would_be_read_for_ever() -> None:
    """Clear codes one after another, and strips that all are the whole file."""
    clear_codes = np.packbits([1, 0, 0, 0, 0, 0, 0, 0, 0] * 8 * 100_000).tobytes()
    assert lzw_length(clear_codes, 10**8) == 0
    data = image_file("tiff", np.zeros((300, 8, 3), np.uint8), tiffinfo={278: 1})
    lengths = (24).to_bytes(4, "little") * 300
    assert lengths in data
    refused(data.replace(lengths, (len(data) // 2).to_bytes(4, "little") * 300), "overlap")


def test_the_preview_of_a_raw_photo_is_not_taken_for_it() -> None:
    refused(image_file("tiff", tiffinfo={254: 1}), "TIFF", "raw")


def test_more_scans_than_a_picture_needs() -> None:
    """Each scan is short in the file, and a pass over the whole picture for a decoder."""
    data = with_size("jpeg", 14_000, 14_000)
    place = data.index(b"\xff\xda")
    header = data[place : place + 14]
    with pytest.raises(DamagedImageError, match="scans"):
        list(scans_of(data[:place] + (header + bytes(8)) * 30 + b"\xff\xd9", frame_of(data)))


def test_what_follows_a_jpeg_is_none_of_it() -> None:
    """A motion photo has a film behind the image, an MPO file further images, a download a page."""
    data = image_file("jpeg")
    film = b"\0\0\0\x18ftypmp42" + random.Random(0).randbytes(5000) + b"\xff\xda\xff"
    for rest in (film, data[:200], b"<html>", b"\0" * 1000):
        np.testing.assert_array_equal(decode_image(data + rest, name="face"), decode_image(data, name="face"))


@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith(("png", "tiff", "webp", "bmp"))])
def test_files_that_end_early(form: str) -> None:
    data = image_file(form)
    if form == "tiff-pages":  # whose second page is not read
        data = image_file("tiff")
    for share in (0.1, 0.5, 0.9, 0.98):
        refused(data[: int(len(data) * share)])


@pytest.mark.parametrize("form", ["png", "apng", "tiff-lzw", "tiff-deflate"])
def test_holes_in_compressed_data_with_checksums_or_lengths(form: str) -> None:
    data = image_file(form)
    middle = len(data) // 2 if form != "apng" else len(data) // 4
    refused(data[:middle] + bytes(20) + data[middle + 20 :])
    refused(data[:middle] + data[middle + 20 :])


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + zlib.crc32(header).to_bytes(4, "big") + b"\0" * 600


def with_size(form: str, width: int, height: int) -> bytes:
    """A file whose header says another size."""
    data = image_file(form)
    if form == "png":
        return png_of(width, height)
    if form == "bmp":
        return data[:18] + width.to_bytes(4, "little") + height.to_bytes(4, "little") + data[26:]
    if form == "jpeg":
        place = data.index(b"\xff\xc0") + 5
        return data[:place] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[place + 4 :]
    start = int.from_bytes(data[4:8], "little") + 2
    entries = {int.from_bytes(data[start + 12 * n :][:2], "little"): start + 12 * n for n in range(8)}
    for tag, value in ((256, width), (257, height)):
        place = entries[tag] + 2
        data = data[:place] + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") + data[place + 10 :]
    return data


@pytest.mark.parametrize("form", ["png", "bmp", "jpeg", "tiff"])
def test_the_size_is_bounded_before_anything_is_decoded(form: str) -> None:
    refused(with_size(form, 32_000, 32_000), f"{MOST_PIXELS:,}", "32,000")


@pytest.mark.parametrize("form", ["png", "bmp", "jpeg", "tiff"])
def test_a_size_that_the_data_does_not_have_is_found_without_decoding(form: str) -> None:
    refused(with_size(form, 14_000, 14_000))


def test_special_files_end_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(20 * 2**30)
    with (tmp_path / "film.jpg").open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(2**30)
    for name in ("pipe.jpg", "zero.jpg", "folder.jpg", "sparse.jpg", "film.jpg"):
        with raises_naming(UnreadableImageError, tmp_path / name):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", ("HEIC", "JPEG")),
        (b"version https://git-lfs.github.com/spec/v1\n", ("git lfs pull",)),
        (b"<!DOCTYPE html><html>", ("HTML",)),
        (b"%PDF-1.7", ("PDF",)),
        (b"\0\0\0\x0cjP  \r\n\x87\n", ("JPEG 2000", "PNG")),
        (b"8BPS\0\1", ("Photoshop", "PNG")),
        (b"\x1a\x45\xdf\xa3", ("film",)),
        (b"", ("empty",)),
        (b"nothing that is known", ("WebP",)),
    ],
)
def test_other_files_are_called_what_they_are_and_never_to_be_removed(data: bytes, facts: tuple[str, ...]) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(data, name="face.jpg")
    names(caught.value, "face.jpg", *facts)
    assert "remove" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_mutations_end_in_an_image_or_in_words(tmp_path: Path, seed: int) -> None:
    assert not attempt(tmp_path / "image", FILES, f"hypothesis/{seed}").startswith("HOLE")
