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


NAMED = [
    "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5",
    "x1,x2,x3,x4,x5,y1,y2,y3,y4,y5,path",
    ",x1,y1,x2,y2,x3,y3,x4,y4,x5,y5",
    ",path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5",
    "image,p0_x,p0_y,p1_x,p1_y,p2_x,p2_y,p3_x,p3_y,p4_x,p4_y",
    "file,score,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5,box_x1,box_y1",
    "image_id,lefteye_x,lefteye_y,righteye_x,righteye_y,nose_x,nose_y,leftmouth_x,leftmouth_y,rightmouth_x,rightmouth_y",
    "filename,x,y,w,h,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,mouth_left_x,mouth_left_y,"
    "mouth_right_x,mouth_right_y",
    "image_path,x_re,y_re,x_le,y_le,x_nt,y_nt,x_rcm,y_rcm,x_lcm,y_lcm",
    "Image Name,landmark_x1,landmark_y1,landmark_x2,landmark_y2,landmark_x3,landmark_y3,landmark_x4,landmark_y4,"
    "landmark_x5,landmark_y5",
]


def values_of(name: str, *, only_path: bool = False) -> str:
    """What stands in the column of that name: the coordinate of POINTS that it says, or something else."""
    name = name.lower().removeprefix("landmark_")
    if not name:
        return "face.jpg" if only_path else "0"
    places = {"1": 0, "2": 1, "3": 2, "4": 3, "5": 4, "le": 0, "re": 1, "nt": 2, "lcm": 3, "rcm": 4}
    places |= {"lefteye": 0, "righteye": 1, "nose": 2, "leftmouth": 3, "rightmouth": 4, "mouthleft": 3, "mouthright": 4}
    places |= {f"p{point}": point for point in range(5)}
    if name in ("path", "image", "file", "image_id", "filename", "image_path", "image name"):
        return "face.jpg"
    axis = "x" if name.startswith("x") or name.endswith("_x") else "y"
    body = name.strip("_")[1:] if name[0] in "xy" else name[:-2]
    place = places.get(body.replace("_", ""))
    return "7" if place is None else str(POINTS[place]["xy".index(axis)])


@pytest.mark.parametrize("header", NAMED)
def test_columns_are_found_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    monkeypatch.chdir(tmp_path)
    row = [values_of(name, only_path="path" not in header) for name in header.split(",")]
    for delimiter in (",", ";", "\t"):
        text = f"{delimiter.join(header.split(','))}\n{delimiter.join(row)}\n"
        Path("landmarks.csv").write_text(text)
        np.testing.assert_array_equal(read_landmarks(Path("landmarks.csv"))[tmp_path / "face.jpg"].points, POINTS)


def test_what_spreadsheets_and_other_tools_make_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    celeba = (
        "1\nlefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    )
    for text in (
        "\ufeff" + ROW,
        ROW.replace(",", " , ") + "  ",
        ROW.replace("10.5", "10,5").replace(",", ";").replace("10;5", "10,5"),
        ROW.replace("face.jpg", '"face.jpg"') + "\r\n\r\n",
        ROW + "\r",
        celeba + "\nface.jpg   " + ROW.removeprefix("face.jpg,").replace(",", "  "),
    ):
        Path("landmarks.csv").write_text(text, encoding="utf-8", newline="")
        landmarks = read_landmarks(Path("landmarks.csv"))
        np.testing.assert_array_equal(landmarks[tmp_path / "face.jpg"].points, POINTS)


def test_the_size_of_the_picture_is_read(tmp_path: Path) -> None:
    header = f"{','.join(COLUMNS)},image_width,image_height"
    (tmp_path / "landmarks.csv").write_text(f"{header}\n{ROW},640,480\nother{ROW},1280,720\n")
    found = [one.image_size for one in read_landmarks(tmp_path / "landmarks.csv").values()]
    assert found == [(640, 480), (1280, 720)]
    for size in ("0,480", "nan,480", "640.5,480", "640"):
        (tmp_path / "landmarks.csv").write_text(f"{header}\n{ROW},{size}\n")
        with raises_naming(InputError, tmp_path / "landmarks.csv", "row 2"):
            read_landmarks(tmp_path / "landmarks.csv")


@pytest.mark.parametrize(
    "header",
    [
        "path,a,b,c,d,e,f,g,h,i,j",
        "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,x5",
        "path,x1,y1,x2,y2,x3,y3,x4,y4,x4,y5",
        "a,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5",
        "path,file,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5",
        "path,nose_x,nose_y,x2,y2,x3,y3,x4,y4,x5,y5",
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "landmarks.csv").write_text(f"{header}\n{ROW}\n")
    with raises_naming(InputError, tmp_path / "landmarks.csv", "row 1", *COLUMNS):
        read_landmarks(tmp_path / "landmarks.csv")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "", "x", "1e999"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "landmarks.csv").write_text(f"{ROW}\nother.jpg,{value},2,3,4,5,6,7,8,9,10")
    with raises_naming(InputError, tmp_path / "landmarks.csv", "row 2"):
        read_landmarks(tmp_path / "landmarks.csv")


def test_many_rows_of_an_image_are_counted_from_one(tmp_path: Path) -> None:
    (tmp_path / "landmarks.csv").write_text(f"{','.join(COLUMNS)}\n\n{ROW}\n./{ROW}")
    with raises_naming(InputError, "row 4", "row 3", "./face.jpg"):
        read_landmarks(tmp_path / "landmarks.csv")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b'"' + b"a" * 200_000])
def test_files_that_are_no_csv_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "landmarks.csv").write_bytes(data)
    with raises_naming(InputError, tmp_path / "landmarks.csv"):
        read_landmarks(tmp_path / "landmarks.csv")
