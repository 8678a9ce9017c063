"""Which column of a table holds what of the five landmarks, by the names that common tools write."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from efq.runtime.errors import InputError

POINTS = tuple(f"{axis}{point}" for point in range(1, 6) for axis in "xy")
COLUMNS = ("path", *POINTS)
SIZE_COLUMNS = ("image_width", "image_height")

_PATHS = {
    "path",
    "file",
    "filename",
    "filepath",
    "image",
    "imagepath",
    "imagename",
    "imageid",
    "imgpath",
    "img",
    "name",
}
_WIDTHS = {"imagewidth": 0, "imgwidth": 0, "width": 0, "imageheight": 1, "imgheight": 1, "height": 1}
_NAMES = (
    {"lefteye", "eyeleft", "leye", "eyel", "le"},
    {"righteye", "eyeright", "reye", "eyer", "re"},
    {"nose", "nosetip", "nt"},
    {
        "leftmouth",
        "mouthleft",
        "lmouth",
        "mouthl",
        "leftmouthcorner",
        "mouthleftcorner",
        "mouthcornerleft",
        "lcm",
        "lm",
    },
    {
        *("rightmouth", "mouthright", "rmouth", "mouthr", "rightmouthcorner", "mouthrightcorner", "mouthcornerright"),
        *("rcm", "rm"),
    },
)
_BY_NAME = {name: point for point, names in enumerate(_NAMES) for name in names}
_AXIS_LAST, _AXIS_FIRST = re.compile(r"(.+?)[\W_]*([xy])"), re.compile(r"([xy])[\W_]*(.+)")
_NUMBER = re.compile(r"(?:p|pt|point|l|lm|ldmk|landmark|landmarks|kp|kps|keypoint)?[\W_]*(\d)")
_PREFIX = re.compile(r"(?:p|pt|point|l|lm|ldmk|landmark|landmarks|kp|kps|keypoint|facial)[\W_]+(?=[a-z])")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Places of the path, of x and y of the five points in the order of the template, and of the picture's size."""

    path: int
    points: tuple[int, ...]
    size: tuple[int, int] | None
    count: int


STANDARD = Columns(path=0, points=tuple(range(1, 11)), size=None, count=11)


def columns_of(header: Sequence[str], place: str) -> Columns:
    """The columns that a row of names describes; `place` is for the message. Others may lie between them.

    Points are numbered, from 0 or 1, or named (left_eye_x, lefteye_x, x_le, nose_x, mouth_left_x).

    Raises InputError for names that tell no path, not all ten coordinates, or one of them twice.
    """
    names = [_PREFIX.sub("", name.strip().lower(), count=1) for name in header]
    plain = [re.sub(r"[\W_]", "", name) for name in names]
    paths = [index for index, name in enumerate(plain) if name in _PATHS] or ([] if plain[0] else [0])
    sizes = [(side, index) for index, name in enumerate(plain) if (side := _WIDTHS.get(name)) is not None]
    found = [(index, *_coordinate(name)) for index, name in enumerate(names)]
    named = {(point, axis): index for index, point, axis, by_name in found if by_name}
    numbered = {(point, axis): index for index, point, axis, by_name in found if not by_name and axis >= 0}
    if numbered and min(point for point, _ in numbered) > 0:
        numbered = {(point - 1, axis): index for (point, axis), index in numbered.items()}
    wanted = [(point, axis) for point in range(5) for axis in range(2)]
    complete = [columns for columns in (named, numbered) if all(key in columns for key in wanted)]
    chosen = complete[0] if len(complete) == 1 else {}
    unique = len(chosen) == len({name for name in names if _coordinate(name)[1] >= 0}) or not chosen
    if len(paths) != 1 or not chosen or len({side for side, _ in sizes}) != len(sizes) or not unique:
        message = (
            f"expected columns {','.join(COLUMNS)} in {place}, in any order, or names as left_eye_x, nose_y, "
            f"mouth_right_x, once each, found {','.join(header)[:500]}"
        )
        raise InputError(message)
    by_side = dict(sizes)
    return Columns(
        path=paths[0],
        points=tuple(chosen[key] for key in wanted),
        size=(by_side[0], by_side[1]) if len(by_side) == 2 else None,
        count=len(header),
    )


def _coordinate(name: str) -> tuple[int, int, bool]:
    """Point, axis (0 for x, 1 for y) and whether the point is named; -1, -1 for a name of no coordinate."""
    for pattern, body, axis in ((_AXIS_LAST, 1, 2), (_AXIS_FIRST, 2, 1)):
        match = pattern.fullmatch(name)
        if not match:
            continue
        number = _NUMBER.fullmatch(match[body])
        if number:
            return int(number[1]), "xy".index(match[axis]), False
        point = _BY_NAME.get(re.sub(r"[\W_]", "", match[body]))
        if point is not None:
            return point, "xy".index(match[axis]), True
    return -1, -1, False
