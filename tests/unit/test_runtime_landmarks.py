from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from messages import raises_naming

from efq.runtime import InputError
from efq.runtime.faces.landmarks import COLUMNS, read_landmarks

ROW = "face.jpg,1,2,3,4,5,6,7,8,9,10.5"
POINTS = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10.5)]


@pytest.mark.parametrize("text", [ROW, f"{','.join(COLUMNS)}\r\n{ROW}\r\n", f"\n{ROW}\n\n"])
def test_rows_with_or_without_column_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("landmarks.csv").write_text(text)
    landmarks = read_landmarks(Path("landmarks.csv"))
    assert list(landmarks) == [tmp_path / "face.jpg"]
    np.testing.assert_array_equal(landmarks[tmp_path / "face.jpg"].points, POINTS)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (ROW.rsplit(",", 1)[0], ("row 1", *COLUMNS)),
        (ROW + ",11", ("row 1", *COLUMNS)),
        (f"{ROW}\nother.jpg,a,2,3,4,5,6,7,8,9,10", ("row 2", *COLUMNS)),
        (f"{ROW}\n./{ROW}", ("row 2", "./face.jpg")),
    ],
)
def test_other_rows_are_refused(tmp_path: Path, text: str, facts: tuple[str, ...]) -> None:
    (tmp_path / "landmarks.csv").write_text(text)
    with raises_naming(InputError, tmp_path / "landmarks.csv", *facts):
        read_landmarks(tmp_path / "landmarks.csv")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b'"' + b"a" * 200_000])
def test_files_that_are_no_csv_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "landmarks.csv").write_bytes(data)
    with raises_naming(InputError, tmp_path / "landmarks.csv"):
        read_landmarks(tmp_path / "landmarks.csv")
