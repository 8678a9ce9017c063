"""Real detectors find what the packages that they come from find with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from efq.runtime import read_image
from efq.runtime.detection import Detector
from efq.runtime.detection.canvas import fit_canvas

ZOO, PHOTOS = os.environ.get("EFQ_ZOO"), os.environ.get("EFQ_PHOTOS")
pytestmark = pytest.mark.skipif(not (ZOO and PHOTOS), reason="needs the files of EFQ_ZOO and EFQ_PHOTOS")

COUNT = 8


def photo_files() -> list[str]:
    """Some of those with faces of all sizes."""
    return (Path(PHOTOS or "") / "dev.txt").read_text().split()[::26][:COUNT]


def photo(path: str) -> NDArray[np.uint8]:
    return read_image(Path(PHOTOS or "") / "images" / path.removeprefix("images/"), exif_orientation=False)


def test_scrfd_as_its_reference() -> None:
    """Detections that were made once with InsightFace's own steps: ../photos/README.md."""
    lines = (Path(PHOTOS or "") / "reference_scrfd.jsonl").read_text().splitlines()
    expected = {row["path"]: row for row in map(json.loads, lines)}
    compared = 0
    with Detector.open(Path(ZOO or "") / "scrfd_2.5g_bnkps.onnx", threads=1) as detector:
        for path in photo_files():
            found = detector.detect(photo(path), min_score=0.3)
            row = expected[path]
            sure = np.array(row["scores"]) >= 0.3
            assert len(found) == sure.sum()
            boxes = np.array(row["boxes"])[sure]
            boxes[:, 2:] += boxes[:, :2]
            np.testing.assert_allclose(found.boxes, boxes, atol=0.15)
            np.testing.assert_allclose(found.scores, np.array(row["scores"])[sure], atol=2e-3)
            for landmarks, wanted in zip(found.landmarks, np.array(row["landmarks"], object)[sure], strict=True):
                np.testing.assert_allclose(landmarks, np.array(wanted, float), atol=0.15)
            compared += len(found)
    assert compared > COUNT


def test_yunet_as_opencv() -> None:
    """OpenCV takes the canvas itself; both leave out what overlaps a better face by 0.4."""
    file = Path(ZOO or "") / "yunet_2023mar_dequant_fp32.onnx"
    opencv = cv2.FaceDetectorYN.create(str(file), "", (640, 640), 0.6, 0.4, 5000)
    compared = 0
    with Detector.open(file, threads=1) as detector:
        for path in photo_files():
            canvas = fit_canvas(photo(path), 640, 640).image
            found = detector.detect(canvas)
            rows = opencv.detect(np.ascontiguousarray(canvas[:, :, ::-1]))[1]
            rows = np.zeros((0, 15)) if rows is None else rows[np.argsort(-rows[:, 14], kind="stable")]
            assert len(found) == len(rows)
            boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
            np.testing.assert_allclose(found.boxes, boxes, atol=0.05)
            np.testing.assert_allclose(found.landmarks.reshape(-1, 10), rows[:, 4:14], atol=0.05)
            np.testing.assert_allclose(found.scores, rows[:, 14], atol=1e-4)
            compared += len(found)
    assert compared > COUNT
