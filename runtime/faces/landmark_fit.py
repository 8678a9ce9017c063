"""Whether five landmarks can be those of a face on a picture: in the order of the template, and within the picture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.faces.template import ARCFACE_TEMPLATE, TEMPLATE_SIZE, similarity_transform

LARGEST_RESIDUAL = 18.0
"""Pixels of the 112x112 template, root of the mean square over the five points, after the best similarity transform.

Of landmarks by hand at most 7.3, of detected ones at most 17.4, the most in profile; with left and right exchanged
21 to 23.3, which is all that any points can have.
"""

SUSPECT_RESIDUAL = 10.0
"""Beyond it, points are refused that another order would bring to less than half of it: none of 8,000 faces."""

LEAST_POINTS, LEAST_SHARE = 3, 0.4
"""Points, and the share of the crop's pixels, that lie in the picture: faces may be cut off at its edge."""

ORDER = "left eye, right eye, nose, left and right corner of the mouth as seen in the image, x before y"

_GRID = 16
_Points = NDArray[np.float64]


def residual(points: _Points) -> NDArray[np.float64]:
    """Of landmarks (..., 5, 2): how far they stay from the template, in its pixels, as `LARGEST_RESIDUAL`: (...)."""
    return _fit(points)[0]


def roll(points: _Points) -> float:
    """Degrees, -180 to 180, that a face with landmarks (5, 2) is turned clockwise in its picture; 0 is upright."""
    return -float(np.angle(_fit(points)[1], deg=True))


def check_order(points: _Points) -> None:
    """Check landmarks (5, 2) against the template. Raises InputError, saying which other order fits."""
    found = float(residual(points))
    if found <= SUSPECT_RESIDUAL:
        return
    name, other = _better_order(points)
    fits = other < found / 2
    if found <= LARGEST_RESIDUAL and not fits:
        return
    advice = f"; they fit {name}" if fits else "; no other order of them fits either"
    message = (
        f"expected landmarks in the order {ORDER}, found {np.round(points, 1).tolist()}, {found:.1f} pixels off the "
        f"template of {TEMPLATE_SIZE} (a face has at most {LARGEST_RESIDUAL:.0f}){advice}"
    )
    raise InputError(message)


def check_inside(points: _Points, width: int, height: int) -> None:
    """Check that landmarks (5, 2), and the crop that they give, lie in a picture of this size. Raises InputError."""
    inside = _inside(points, width, height)
    transform = similarity_transform(points, ARCFACE_TEMPLATE.astype(np.float64))
    centers = (np.arange(_GRID) + 0.5) * (TEMPLATE_SIZE / _GRID) - 0.5
    crop = np.stack(np.meshgrid(centers, centers), axis=-1).reshape(-1, 2)
    share = _inside((crop - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T, width, height).mean()
    if inside.sum() < LEAST_POINTS or share < LEAST_SHARE:
        message = (
            f"expected landmarks in pixels of the picture of {width}x{height}, found {np.round(points, 1).tolist()}: "
            f"{5 - inside.sum()} of 5 and {1 - share:.0%} of the face lie outside; if they are of the picture at "
            "another size, give that (image_size, or columns image_width,image_height)"
        )
        raise InputError(message)


def check_turn(points: _Points, orientation: int) -> None:
    """Check that landmarks (5, 2) on a picture turned as its EXIF record says are not of the picture as stored.

    A face that lies in the picture and would stand in the one that is stored is refused. Raises InputError.
    """
    turn = _TURNS.get(orientation, 0)
    found = roll(points)
    if turn and abs((found - turn + 180) % 360 - 180) < 45:
        message = (
            f"expected landmarks of the picture turned as its EXIF record says (orientation {orientation}), found a "
            f"face turned by {found:.0f} degrees in it, which is upright in the picture as stored; give "
            "--no-exif-orientation if the landmarks are of that, or --exif-orientation if the face lies"
        )
        raise InputError(message)


# The roll, on the picture as shown, of landmarks of an upright face that are of the picture as stored.
_TURNS = {3: 180, 4: 180, 5: -90, 6: -90, 7: 90, 8: 90}


def _inside(points: _Points, width: int, height: int) -> NDArray[np.bool_]:
    return np.asarray(((points >= -0.5) & (points <= np.array((width, height)) - 0.5)).all(axis=-1))


def _fit(points: _Points) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """The residual and, up to a positive factor, the rotation that brings the points to the template."""
    target = (ARCFACE_TEMPLATE - ARCFACE_TEMPLATE.mean(axis=0)).astype(np.float64) @ (1, 1j)
    source = (points - points.mean(axis=-2, keepdims=True)) @ (1, 1j)
    spread, wanted = (np.mean(np.abs(side) ** 2, axis=-1) for side in (source, target))
    product = np.mean(source.conj() * target, axis=-1)
    correlation = np.abs(product) ** 2 / np.maximum(spread * wanted, 1e-12)
    return np.sqrt(wanted * np.clip(1 - correlation, 0, 1)), np.asarray(product)


def _better_order(points: _Points) -> tuple[str, float]:
    """The other reading of the ten numbers that fits best; of those that fit equally, the most upright face."""
    readings = list(_readings())
    orders = points.ravel()[np.stack([places for _, places in readings])]
    found, factors = _fit(orders)
    near = np.flatnonzero(found <= found.min() + 1)
    best = int(near[np.argmin(np.round(np.abs(np.angle(factors[near])), 1))])
    return readings[best][0], float(found[best])


def _readings() -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Places of the ten numbers, (5, 2), as they would have to be read, with the words for it."""
    as_read = np.arange(10).reshape(5, 2)
    grouped = np.arange(10).reshape(2, 5).T
    exchanged = [1, 0, 2, 4, 3]
    yield "with left and right exchanged", as_read[exchanged]
    yield "as y before x", as_read[:, ::-1]
    yield "as x1 to x5, then y1 to y5", grouped
    yield "as y1 to y5, then x1 to x5", grouped[:, ::-1]
    yield "as x1 to x5, then y1 to y5, with left and right exchanged", grouped[exchanged]
    names = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
    for order in itertools.permutations(range(5)):
        if order not in ((0, 1, 2, 3, 4), tuple(exchanged)):
            yield "as " + ", ".join(names[order.index(place)] for place in range(5)), as_read[list(order)]
