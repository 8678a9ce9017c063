"""Detectors: what is found where, which files are refused, and which faces of a photo are taken."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from detectors import BLUE, SIDE, Kind, landmark_offsets, make_detector, paste_face
from image_files import image_file
from messages import names
from networks import draw_faces
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from efq.runtime import InputContract
from efq.runtime.detection import Detections, Detector
from efq.runtime.detection.detections import suppress
from efq.runtime.detection.model_file import read_detector
from efq.runtime.detection.photo_faces import PhotoReader, Take
from efq.runtime.errors import EfqError, IncompatibleArtifactError, InputError, UnreadableImageError, UsageError

FACES = draw_faces(3, 1)
KINDS: tuple[Kind, ...] = ("scrfd", "yunet")


@pytest.fixture(scope="module", params=KINDS)
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    path = make_detector(tmp_path_factory.mktemp("detector") / "detector.onnx", request.param)
    with Detector.open(path, threads=1) as opened:
        yield opened


def photo_of(*corners: tuple[int, int], size: tuple[int, int] = (640, 640)) -> NDArray[np.uint8]:
    """Gray, with a face around each cell that begins at one of `corners`, column and row."""
    photo = np.full((*size, 3), 90, np.uint8)
    for face, (column, row) in zip(itertools.cycle(FACES), corners, strict=False):
        paste_face(photo, face, column, row)
    return photo


def points_at(column: float, row: float) -> NDArray[np.float64]:
    return landmark_offsets() + np.array([column + 4, row + 4])


def test_faces_are_where_they_are(detector: Detector) -> None:
    corners = [(96, 200), (400, 304)]
    found = detector.detect(photo_of(*corners))
    assert len(found) == 2
    for column, row in corners:
        place = int(np.argmin(np.abs(found.boxes[:, 0] - (column + 4 - SIDE / 2))))
        middle = np.array([column + 4, row + 4] * 2)
        np.testing.assert_allclose(found.boxes[place], middle + np.array([-1, -1, 1, 1]) * SIDE / 2, atol=1e-2)
        np.testing.assert_allclose(found.landmarks[place], points_at(column, row), atol=1e-2)
    assert (found.scores > 0.99).all()
    assert found.boxes.dtype == found.scores.dtype == found.landmarks.dtype == np.float32


@pytest.mark.parametrize("scale", [0.5, 2, 3])
def test_pixels_are_those_of_the_photo(detector: Detector, scale: float) -> None:
    """A photo that is not as large as the canvas, and not square: 640 x 320 of the canvas, scaled."""
    photo = photo_of((200, 120))[:320]
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    found = detector.detect(np.asarray(photo, np.uint8))
    assert len(found) == 1
    np.testing.assert_allclose(found.landmarks[0], points_at(200, 120) * scale, atol=0.05 * scale)


def test_nothing_in_a_photo_without_faces(detector: Detector) -> None:
    assert len(detector.detect(photo_of())) == 0
    assert len(detector.detect(np.zeros((1, 5000, 3), np.uint8))) == 0


def test_a_least_score(detector: Detector) -> None:
    photo = photo_of((200, 200))
    photo[200:208, 200:208] = (20, 20, 250)
    everything = detector.detect(photo, min_score=1e-6)
    assert len(everything) == 1
    assert not len(detector.detect(photo, min_score=min(1.0, float(everything.scores[0]) + 1e-3)))
    for score in (0, -1, 1.5, float("nan")):
        with pytest.raises(UsageError):
            detector.detect(photo, min_score=score)


@pytest.mark.parametrize(
    "photo", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8), "a.jpg"]
)
def test_no_photo(detector: Detector, photo: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError):
        detector.detect(photo)


def test_a_closed_detector_says_so(tmp_path: Path) -> None:
    detector = Detector.open(make_detector(tmp_path / "detector.onnx"), threads=1)
    detector.close()
    detector.close()
    with pytest.raises(UsageError):
        detector.detect(photo_of())


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_is_chosen_where_the_file_leaves_it_open(tmp_path: Path, kind: Kind) -> None:
    path = make_detector(tmp_path / "detector.onnx", kind, size="side")
    with Detector.open(path, threads=1) as usual, Detector.open(path, size=960, threads=1) as larger:
        assert usual.size == (640, 640)
        assert larger.size == (960, 960)
        assert len(larger.detect(photo_of((200, 200), size=(960, 960)))) == 1
    for size in (0, 100, 8192):
        with pytest.raises(UsageError):
            Detector.open(path, size=size)


def test_the_size_of_the_file_is_the_only_one(tmp_path: Path) -> None:
    path = make_detector(tmp_path / "detector.onnx", size=320)
    with Detector.open(path, threads=1) as opened:
        assert opened.size == (320, 320)
    with pytest.raises(UsageError) as refused:
        Detector.open(path, size=640)
    names(refused.value, 320, 640)


def test_of_overlapping_faces_the_best_is_kept() -> None:
    """Of boxes of 10 x 10 moved by 2, 5 and 20 pixels: intersection over union 8/12, 5/15 and 0."""
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [20, 0, 30, 10]], np.float32)
    found = Detections(
        boxes=boxes, scores=np.array([0.9, 0.8, 0.7, 0.6], np.float32), landmarks=np.zeros((4, 5, 2), np.float32)
    )
    assert suppress(found, 0.4).boxes[:, 0].tolist() == [0, 5, 20]
    assert suppress(found, 0.3).boxes[:, 0].tolist() == [0, 20]
    assert suppress(found, 0.7).boxes[:, 0].tolist() == [0, 2, 5, 20]


def damaged(model: onnx.ModelProto, change: str) -> onnx.ModelProto:
    """What is no plain detector."""
    if change == "loop":
        body = helper.make_graph([], "body", [], [])
        model.graph.node.append(helper.make_node("Loop", ["", ""], ["looped"], body=body))
    elif change == "subgraph in a known operator":
        model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "body", [], [])))
    elif change == "custom domain":
        model.graph.node[0].domain = "com.example"
    elif change == "function":
        model.functions.append(helper.make_function("f", "g", [], [], [], [helper.make_opsetid("", 13)]))
    elif change == "weights elsewhere":
        model.graph.initializer[0].data_location = TensorProto.EXTERNAL
        model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    elif change == "constant elsewhere":
        value = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL, name="x")
        model.graph.node.append(helper.make_node("Constant", [], ["x"], value=value))
    elif change == "outputs":
        del model.graph.output[-1]
    elif change == "cells":
        model.graph.node[0].attribute[0].ints[:] = [16, 16]
    elif change in ("not finite", "scores that are not finite"):
        wanted = ("kps_8_b", "bbox_8_b") if change == "not finite" else ("score_8_b",)
        weight = next(one for one in model.graph.initializer if one.name in wanted)
        weight.raw_data = np.full(weight.dims, np.nan, np.float32).tobytes()
    elif change == "scores before their sigmoid":
        for node in model.graph.node:
            if node.op_type == "Sigmoid":
                node.op_type = "Relu"
    return model


@pytest.mark.parametrize(
    "change",
    [
        *("loop", "subgraph in a known operator", "custom domain", "function", "weights elsewhere"),
        *("constant elsewhere", "outputs", "cells"),
    ],
)
def test_what_is_no_detector_is_refused_when_opened(tmp_path: Path, change: str) -> None:
    path = make_detector(tmp_path / "detector.onnx")
    path.write_bytes(damaged(onnx.load(path), change).SerializeToString())
    with pytest.raises(IncompatibleArtifactError) as refused:
        Detector.open(path, threads=1)
    names(refused.value, path)


@pytest.mark.parametrize("change", ["not finite", "scores that are not finite", "scores before their sigmoid"])
def test_numbers_that_no_detector_gives_are_refused(tmp_path: Path, change: str) -> None:
    path = make_detector(tmp_path / "detector.onnx")
    path.write_bytes(damaged(onnx.load(path), change).SerializeToString())
    with pytest.raises(IncompatibleArtifactError), Detector.open(path, threads=1) as opened:
        opened.detect(photo_of((200, 200)))


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x80\x04]", b"\x00" * 100, b"version https://git-lfs", None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "detector.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IncompatibleArtifactError) as refused:
        Detector.open(path, threads=1)
    names(refused.value, path)


@pytest.mark.parametrize("change", ["two images", "bytes"])
def test_networks_of_another_input_are_refused(tmp_path: Path, change: str) -> None:
    path = make_detector(tmp_path / "detector.onnx")
    model = onnx.load(path)
    kind = model.graph.input[0].type.tensor_type
    if change == "bytes":
        kind.elem_type = TensorProto.UINT8
    else:
        kind.shape.dim[0].dim_value = 2
    onnx.save(model, path)
    with pytest.raises(IncompatibleArtifactError) as refused:
        Detector.open(path, threads=1)
    assert "efq-export" not in str(refused.value)


def test_a_recognizer_is_no_detector(tiny_artifact: Path) -> None:
    with pytest.raises(IncompatibleArtifactError):
        Detector.open(tiny_artifact / "model.onnx", threads=1)


def test_mutated_files_end_in_typed_errors(tmp_path: Path) -> None:
    """Of what is read before a runtime parses the file."""
    path = make_detector(tmp_path / "detector.onnx", size=64)
    content, chance = path.read_bytes(), random.Random(0)
    place = tmp_path / "mutated.onnx"
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        place.write_bytes(changed[: chance.choice((len(changed), chance.randrange(len(changed))))])
        try:
            read_detector(place)
        except EfqError:
            refused += 1
    assert 0 < refused < 300


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two faces, the first one larger after a resize; one; none; one that lies, and is turned by its EXIF record."""
    two = photo_of((200, 200), (400, 400))
    cv2.imwrite(str(tmp_path / "two.png"), two[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "one.png"), photo_of((120, 96))[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "none.png"), photo_of()[:, :, ::-1])
    lying = cv2.rotate(photo_of((200, 120)), cv2.ROTATE_90_COUNTERCLOCKWISE)  # stored so that 6 turns it back
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "turned.png").write_bytes(image_file("png", np.ascontiguousarray(lying), exif=exif))
    return tmp_path


def reader(detector: Detector, take: Take = "largest", **options: float | bool) -> PhotoReader:
    return PhotoReader(detector=detector, contract=InputContract(), take=take, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("take", "count"), [("largest", 1), ("all", 2), ("single", 0)])
def test_which_faces_are_taken(detector: Detector, photos: Path, take: Take, count: int) -> None:
    found = reader(detector, take)(photos / "two.png")
    assert len(found.taken) == count
    assert len(reader(detector, take)(photos / "one.png").taken) == 1
    nothing = reader(detector, take)(photos / "none.png")
    assert not nothing.taken
    assert len(nothing.left_out) == 1


def test_a_crop_is_that_of_its_landmarks(detector: Detector, photos: Path) -> None:
    """The face that was pasted, enlarged by 112 / 80 again: nearly the same pixels, but for the blue cell."""
    (face,) = reader(detector)(photos / "one.png").taken
    assert face.image.shape == (112, 112, 3)
    assert face.photo_size == (640, 640)
    away = np.abs(face.image.astype(int) - FACES[0].astype(int))
    away[44:70, 44:70] = 0
    assert np.median(away) < 12
    other = np.abs(face.image.astype(int) - FACES[1].astype(int))
    assert np.median(other) > 2 * np.median(away)


def test_photos_are_turned_as_exif_says(detector: Detector, photos: Path) -> None:
    (face,) = reader(detector)(photos / "turned.png").taken
    np.testing.assert_allclose(face.landmarks, points_at(200, 120), atol=0.2)
    stored = reader(detector, exif_orientation=False)(photos / "turned.png").taken
    assert not any(np.allclose(one.landmarks, points_at(200, 120), atol=20) for one in stored)


def test_faces_too_small_or_cut_off_are_left_out(detector: Detector, photos: Path) -> None:
    found = reader(detector, min_side=SIDE + 1.0)(photos / "one.png")
    assert not found.taken
    names(found.left_out[0], 1, SIDE + 1)
    corner = photo_of()
    corner[:8, :8] = BLUE
    found = reader(detector, "all").faces_of(corner)
    assert not found.taken
    assert len(found.left_out) == 1


def test_what_a_reader_refuses(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        PhotoReader(detector=detector, contract=InputContract(height=160, width=160, alignment="custom"))
    with pytest.raises(UsageError):
        reader(detector, "biggest")  # type: ignore[arg-type]
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(UnreadableImageError):
        reader(detector)(tmp_path / "text.jpg")
