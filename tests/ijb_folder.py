"""Folders in the form of IJB-B and IJB-C, with drawn images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from efq.runtime.faces.template import ARCFACE_TEMPLATE

Shown = NDArray[np.uint8]
OFFSET = (7, 3)
"""By which the face lies to the right of and below the corner of its image: cropping it changes no pixel."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """An image of a template; `face` None makes a file that is no image."""

    name: str
    template: int
    media: int
    face: Shown | None
    score: float = 1.0


def write_ijb(
    root: Path,
    rows: Sequence[Row],
    *,
    prefix: str = "ijbc",
    pairs: Sequence[tuple[int, int, int]] = (),
    galleries: Sequence[Mapping[int, int]] = (),
    probes: Mapping[int, int] | None = None,
) -> Path:
    """`pairs` are (template, template, label); `galleries`, two, and `probes` subjects by template."""
    (root / "meta").mkdir(parents=True)
    (root / "loose_crop").mkdir()
    points = ARCFACE_TEMPLATE + np.array(OFFSET)
    for row in rows:
        write_face(root / "loose_crop" / row.name, row.face)
    media = [f"{row.name} {row.template} {row.media}" for row in rows]
    landmarks = [f"{row.name} {' '.join(f'{value:.4f}' for value in points.ravel())} {row.score}" for row in rows]
    write_list(root, f"{prefix}_face_tid_mid.txt", media)
    write_list(root, f"{prefix}_name_5pts_score.txt", landmarks)
    if pairs:
        write_list(root, f"{prefix}_template_pair_label.txt", [" ".join(map(str, pair)) for pair in pairs])
    names = ("S1", "S2") if prefix == "ijbb" else ("G1", "G2")
    for name, gallery in zip(names, galleries, strict=False):
        write_subjects(root, f"{prefix}_1N_gallery_{name}.csv", gallery)
    if probes is not None:
        write_subjects(root, f"{prefix}_1N_probe_mixed.csv", probes)
    return root


def write_face(path: Path, face: Shown | None) -> None:
    if face is None:
        path.write_bytes(b"no image")
        return
    image = np.zeros((face.shape[0] + 10, face.shape[1] + 10, 3), np.uint8)
    image[OFFSET[1] : OFFSET[1] + face.shape[0], OFFSET[0] : OFFSET[0] + face.shape[1]] = face
    path.write_bytes(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())


def write_subjects(root: Path, name: str, subjects: Mapping[int, int]) -> None:
    lines = [f"{template},{subject},img/{template}.jpg,{template}" for template, subject in subjects.items()]
    write_list(root, name, ["TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID", *lines])


def write_list(root: Path, name: str, lines: Sequence[str]) -> None:
    (root / "meta" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
