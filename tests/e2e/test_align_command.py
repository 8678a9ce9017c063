"""efq-align as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from detectors import make_detector, paste_face
from messages import names
from networks import draw_faces
from numpy.typing import NDArray

from efq.runtime import embed_command
from efq.runtime.detection.align_command import main

FACES = draw_faces(3, 1)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_detector(tmp_path_factory.mktemp("detector") / "detector.onnx", "yunet")


def photo(*faces: int) -> NDArray[np.uint8]:
    canvas = np.full((640, 640, 3), 90, np.uint8)
    for place, face in enumerate(faces):
        paste_face(canvas, FACES[face], 120 + 160 * place, 200)
    return canvas


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """ann/1.png with her face, ann/1.jpg with hers and another, bob/2.png without any, broken.jpg."""
    folder = tmp_path / "photos"
    for name, faces in (("ann/1.png", (0,)), ("ann/1.jpg", (0, 1)), ("bob/2.png", ()), ("bob/3.png", (2,))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), photo(*faces)[:, :, ::-1])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def align(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--threads", 1)])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_of_photos_becomes_a_folder_of_faces(detector: Path, photos: Path, tmp_path: Path) -> None:
    result = align(photos, "--detector", detector, "-o", tmp_path / "faces", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["photos"], summary["faces"], summary["photos_without"]) == (5, 3, 2)
    expected = ["ann/1.jpg.png", "ann/1.png.png", "bob/3.png", "landmarks.csv", "left-out.csv"]
    assert files(tmp_path / "faces") == expected
    assert cv2.imread(str(tmp_path / "faces" / "bob" / "3.png")).shape == (112, 112, 3)
    assert {row["path"] for row in table(tmp_path / "faces" / "left-out.csv")} == {"bob/2.png", "broken.jpg"}
    rows = {row["face"]: row for row in table(tmp_path / "faces" / "landmarks.csv")}
    assert set(rows) == set(expected[:3])
    assert (rows["bob/3.png"]["path"], rows["bob/3.png"]["image_width"]) == ("bob/3.png", "640")


def test_all_faces_of_a_photo_are_numbered(detector: Path, photos: Path, tmp_path: Path) -> None:
    result = align(photos, "--detector", detector, "-o", tmp_path / "faces", "--take", "all", "--size", 128)
    assert result.exit_code == 0, result.stderr
    names(result.stdout, tmp_path / "faces", 4, 5)
    faces = [name for name in files(tmp_path / "faces") if name.endswith(".png")]
    assert faces == ["ann/1.jpg_1.png", "ann/1.jpg_2.png", "ann/1.png_1.png", "bob/3_1.png"]
    assert cv2.imread(str(tmp_path / "faces" / faces[0])).shape == (128, 128, 3)


def test_photos_of_several_people_may_be_left_out(detector: Path, photos: Path, tmp_path: Path) -> None:
    result = align(photos, "--detector", detector, "-o", tmp_path / "faces", "--take", "single")
    assert result.exit_code == 0, result.stderr
    assert "ann/1.jpg" in {row["path"] for row in table(tmp_path / "faces" / "left-out.csv")}


def test_the_table_is_one_of_landmarks(detector: Path, photos: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    """Photos embedded by landmarks.csv have the embeddings of the crops."""
    assert align(photos, "--detector", detector, "-o", tmp_path / "faces", "--artifact", tiny_artifact).exit_code == 0
    rows = table(tmp_path / "faces" / "landmarks.csv")
    listed = tmp_path / "landmarks.csv"
    with listed.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "path": str(photos / row["path"])} for row in rows)
    embeddings = []
    crops = [tmp_path / "faces" / row["face"] for row in rows]
    for images, options in ((crops, ()), ([photos / row["path"] for row in rows], ("--landmarks", listed))):
        output = tmp_path / f"{len(options)}.npz"
        arguments = [tiny_artifact, *images, *options, "-o", output, "--threads", 1, "--backend", "onnxruntime"]
        result = CliRunner().invoke(embed_command.main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.stderr
        with np.load(output, allow_pickle=False) as saved:
            embeddings.append(saved["embeddings"])
    assert (embeddings[0] * embeddings[1]).sum(axis=1).min() > 0.999


def test_photos_are_embedded_by_their_largest_face(
    detector: Path, photos: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    """As their crops are; a photo without a face is named, and skipped where that is allowed."""
    assert align(photos, "--detector", detector, "-o", tmp_path / "faces", "--artifact", tiny_artifact).exit_code == 0
    rows = table(tmp_path / "faces" / "landmarks.csv")
    embeddings = []
    options = (tiny_artifact, "--threads", 1, "--backend", "onnxruntime")
    given = {"crops": [tmp_path / "faces" / row["face"] for row in rows], "photos": [photos, "--detector", detector]}
    for name, images in given.items():
        arguments = [str(one) for one in (*options, *images, "-o", tmp_path / f"{name}.npz", "--skip-unreadable")]
        result = CliRunner().invoke(embed_command.main, arguments)
        assert result.exit_code == 0, result.stderr
        with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as saved:
            embeddings.append(saved["embeddings"])
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-6)
    arguments = [str(one) for one in (*options, photos, "--detector", detector, "-o", tmp_path / "none.npz")]
    result = CliRunner().invoke(embed_command.main, arguments)
    assert result.exit_code == 1
    names(result.stderr, photos / "bob" / "2.png", "--skip-unreadable")
    assert not (tmp_path / "none.npz").exists()
    result = CliRunner().invoke(embed_command.main, [*arguments, "--landmarks", str(tmp_path / "faces/landmarks.csv")])
    assert result.exit_code == 2


def test_no_faces_at_all_is_an_error_without_output(detector: Path, photos: Path, tmp_path: Path) -> None:
    result = align(photos, "--detector", detector, "-o", tmp_path / "faces", "--min-side", 200)
    assert result.exit_code == 1
    assert not (tmp_path / "faces").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--size", 112, "--artifact", "."), 2),
        (("--artifact", "."), 5),
        (("--detector-size", 640), 0),
        (("--detector-size", 320), 2),
        (("--detector-size", 100), 2),
        (("--min-score", 0), 2),
        (("--take", "none"), 2),
    ],
)
def test_options(detector: Path, photos: Path, tmp_path: Path, options: tuple[object, ...], code: int) -> None:
    result = align(photos, "--detector", detector, "-o", tmp_path / "faces", *options)
    assert result.exit_code == code, result.stderr
    assert (tmp_path / "faces").exists() is (code == 0)


def test_a_face_takes_no_folders_name(detector: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bob" / "3.png").rename(photos / "bob" / "3.jpg")
    (photos / "ann").rename(photos / "bob" / "3.png")
    assert align(photos, "--detector", detector, "-o", tmp_path / "faces").exit_code == 0
    assert "bob/3.jpg.png" in files(tmp_path / "faces")


@pytest.mark.parametrize("name", ["landmarks.csv/1.png", "x.jpg.png/1.png", f"{'l' * 250}.jpg"])
def test_photos_whose_faces_can_have_no_file(detector: Path, photos: Path, tmp_path: Path, name: str) -> None:
    (photos / name).parent.mkdir(exist_ok=True)
    for place in (name, "x.jpg", "x.png"):
        cv2.imwrite(str(photos / place), photo(0))
    result = align(photos, "--detector", detector, "-o", tmp_path / "faces")
    assert result.exit_code == 1
    names(result.stderr, name.rpartition("/")[0].removesuffix(".png") or name)
    assert not (tmp_path / "faces").exists()


def test_inputs_are_never_replaced(detector: Path, photos: Path, tmp_path: Path) -> None:
    before = files(photos)
    assert align(photos, "--detector", detector, "-o", photos, "--force").exit_code == 2
    assert align(photos, "--detector", detector, "-o", detector, "--force").exit_code == 2
    inside = align(photos, "--detector", detector, "-o", photos / "faces")  # the next run would find them
    assert inside.exit_code == 2
    names(inside.stderr, photos / "faces", photos)
    assert files(photos) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    result = align(empty, "--detector", detector, "-o", tmp_path / "faces")
    assert result.exit_code == 1
    names(result.stderr, empty)
