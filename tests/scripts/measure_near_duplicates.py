"""How often the hash of near-duplicates errs on real faces: the tables of docs/lab/near-duplicates.md.

    python tests/scripts/measure_near_duplicates.py FACES [--list FILE] [--teacher CHECKPOINT --probes LIST]

FACES is a folder of aligned faces, one folder a person. Pairs that differ in few bits are listed with their paths: look
at them, as a pair of two people may be one photo under two names. With a teacher, a face is made out of each hash by
linear regression on the other faces, and compared with the photos of LIST.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from efq.toolchain.data import near_duplicates, open_faces
from efq.toolchain.data.faces import FaceSet
from efq.toolchain.networks import open_network

Images = NDArray[np.uint8]
BITS = (0, 8, 16, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60)
LIMITS = (24, 28, 32, 36, 40, 44)


def jpeg(image: Images, quality: int) -> Images:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


def through(image: Images, side: int) -> Images:
    return np.asarray(cv2.resize(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), (112, 112)), np.uint8)


def cut(image: Images, pixels: int) -> Images:
    return np.asarray(cv2.resize(image[pixels:-pixels, pixels:-pixels], (112, 112)), np.uint8)


def moved(image: Images, x: float, y: float, degrees: float = 0.0, scale: float = 1.0) -> Images:
    matrix = cv2.getRotationMatrix2D((55.5, 55.5), degrees, scale)
    matrix[:, 2] += x, y
    return np.asarray(cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def scaled(image: Images, factor: float, offset: float = 0.0) -> Images:
    return np.clip(image.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Images], Images]] = {
    "JPEG 95": lambda image: jpeg(image, 95),
    "JPEG 75": lambda image: jpeg(image, 75),
    "JPEG 50": lambda image: jpeg(image, 50),
    "JPEG 30": lambda image: jpeg(image, 30),
    "112, 96, 112 pixels": lambda image: through(image, 96),
    "112, 56, 112 pixels": lambda image: through(image, 56),
    "cut by 1 pixel a side": lambda image: cut(image, 1),
    "cut by 2 pixels a side": lambda image: cut(image, 2),
    "cut by 3 pixels a side": lambda image: cut(image, 3),
    "cut by 4 pixels a side": lambda image: cut(image, 4),
    "2 % cut off below": lambda image: np.asarray(cv2.resize(image[:110], (112, 112)), np.uint8),
    "1.3 times as bright": lambda image: scaled(image, 1.3),
    "40 gray levels brighter": lambda image: scaled(image, 1, 40),
    "0.6 times as bright": lambda image: scaled(image, 0.6),
    "gamma 0.6": lambda image: (255 * (image / 255) ** 0.6).astype(np.uint8),
    "blurred by 1 pixel": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "mirrored, cut by 2, 56 pixels, JPEG 75": lambda image: jpeg(through(cut(image[:, ::-1], 2), 56), 75),
    "moved by 1 pixel in x and y": lambda image: moved(image, 1, 1),
    "turned by 2 degrees": lambda image: moved(image, 0, 0, 2),
    "moved by 2 pixels in x and y": lambda image: moved(image, 2, 2),
}


def distances(hashes: near_duplicates.Hashes) -> Iterator[NDArray[np.int64]]:
    """Of all pairs that differ in at most 80 bits by their kept windows: distance, and both places."""
    kept = near_duplicates.stored_hashes(hashes)
    near_duplicates._CANDIDATE_BITS = 80
    for one, other in near_duplicates._candidates(kept, kept, later=True):
        yield np.stack([near_duplicates._distances(hashes[one], kept[other]), one, other], axis=1)


def measure_pairs(faces: FaceSet) -> None:
    found = np.concatenate(list(distances(faces.near_hashes)))
    found = found[np.argsort(found[:, 0], kind="stable")]
    same = faces.labels[found[:, 1]] == faces.labels[found[:, 2]]
    total = len(faces) * (len(faces) - 1) // 2
    print(f"{len(faces)} images, {total:,} pairs; pairs in at most so many different bits")
    for bits in BITS:
        inside = found[:, 0] <= bits
        print(f"| {bits} | {(inside & same).sum()} | {(inside & ~same).sum()} |")
    for (bits, one, other), of_one in zip(found[found[:, 0] <= 46], same[found[:, 0] <= 46], strict=True):
        print(f"  {bits} {'' if of_one else 'TWO PEOPLE '}{faces.paths[one]} {faces.paths[other]}")


def measure_changes(faces: FaceSet, count: int = 1500) -> None:
    chosen = np.sort(np.random.default_rng(0).choice(len(faces), min(count, len(faces)), replace=False))
    kept = near_duplicates.stored_hashes(faces.near_hashes)[chosen]
    print(f"| change of {len(chosen)} photos | median | most | found in {', '.join(map(str, LIMITS))} bits, % |")
    for name, change in CHANGES.items():
        changed = near_duplicates.near_hashes(np.stack([change(faces.images[place]) for place in chosen]))
        bits = near_duplicates._distances(changed, kept)
        shares = " / ".join(f"{100 * (bits <= limit).mean():.1f}" for limit in LIMITS)
        print(f"| {name} | {np.median(bits):.0f} | {bits.max()} | {shares} |", flush=True)


def signs(faces: FaceSet) -> NDArray[np.float32]:
    found = near_duplicates._as_signs(near_duplicates.stored_hashes(faces.near_hashes))
    return np.concatenate([found, np.ones((len(found), 1), np.float32)], axis=1)


def measure_inversion(faces: FaceSet, probes: FaceSet, teacher: Path) -> None:
    """Whose face a hash holds."""
    small = np.stack([cv2.resize(image, (56, 56), interpolation=cv2.INTER_AREA) for image in faces.images])
    known, values = signs(faces), small.reshape(len(small), -1).astype(np.float32)
    weights = np.linalg.solve(known.T @ known + 50 * np.eye(known.shape[1], dtype=np.float32), known.T @ values)
    made = np.clip(signs(probes) @ weights, 0, 255).astype(np.uint8).reshape(-1, 56, 56, 3)
    network = open_network(teacher)
    made_from = network.embed(np.stack([cv2.resize(image, (112, 112)) for image in made]))
    scores = made_from @ network.embed(np.array(probes.images)).T
    same = probes.labels[:, None] == probes.labels
    own = np.eye(len(probes), dtype=bool)
    for far in (1e-2, 1e-3, 1e-4):
        threshold = np.quantile(scores[~same], 1 - far)
        print(f"| {far:g} | {100 * (scores[own] > threshold).mean():.1f} | ", end="")
        print(f"{100 * (scores[same & ~own] > threshold).mean():.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--list", type=Path)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--probes", type=Path)
    options = parser.parse_args()
    faces = open_faces(options.faces, listing=options.list, resize=True, identity_level="leaf")
    if options.teacher is not None:
        measure_inversion(faces, open_faces(options.faces, listing=options.probes), options.teacher)
        return
    measure_changes(faces)
    measure_pairs(faces)


if __name__ == "__main__":
    main()
