"""Where the parts of a face lie, in pixels of the aligned crop."""

from __future__ import annotations

import numpy as np

from efq.benchmarks.drawn_faces.canvas import smooth
from efq.benchmarks.drawn_faces.identity import Identity

CENTER_X = 56.0
EYE_Y = 51.6
AXIS = np.array([CENTER_X, 0.0])  # where shapes given relative to the middle of the face go


def neutral_landmarks(identity: Identity) -> np.ndarray:
    """The five landmarks (5, 2) of a face seen from the front without expression, before alignment."""
    eye, mouth = identity.eye_spacing / 2, identity.mouth_width / 2
    return np.array(
        [
            [CENTER_X - eye, EYE_Y],
            [CENTER_X + eye, EYE_Y],
            [CENTER_X, identity.nose_y],
            [CENTER_X - mouth, identity.mouth_y],
            [CENTER_X + mouth, identity.mouth_y],
        ]
    )


def mirrored(right_half: np.ndarray) -> np.ndarray:
    """A closed outline (2n - 2, 2) from its right half, whose ends lie on the axis (x relative to it)."""
    left = right_half[-2:0:-1] * [-1, 1]
    return np.asarray(np.concatenate([right_half, left]) + AXIS)


def both(right: np.ndarray) -> np.ndarray:
    """A shape (n, 2) of the right half and its mirror image: (2, n, 2); x comes relative to the axis of the face."""
    return np.asarray(np.stack([right, right * [-1, 1]]) + AXIS)


def head_outline(identity: Identity) -> np.ndarray:
    """The outline of the skull and jaw, without hair and ears: a closed curve."""
    width, chin = identity.face_width, identity.chin_y
    cheek = 1.0 + 0.03 * (identity.cheeks - 0.5)
    half = np.array(
        [
            [0, chin],
            [0.62 * identity.chin_width, chin - 1.2],
            [1.12 * identity.chin_width, chin - 6.0],
            [0.5 * (1.12 * identity.chin_width + identity.jaw * width) + 1.5, chin - 13.5],
            [identity.jaw * width, 0.45 * 88.0 + 0.55 * (chin - 25.0)],
            [0.97 * cheek * width, 70.0],
            [cheek * width, 54.0],
            [0.985 * width, 34.0],
            [0.90 * width, 14.0],
            [0.68 * width, -2.0],
            [0.36 * width, -10.0],
            [0, -12.0],
        ]
    )
    return smooth(mirrored(half), closed=True)
