"""Faces packed as data sets are handed on: InsightFace's RecordIO, written by dmlc's rules, and WebDataset's tars."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from efq.toolchain.data.sources.folder import FolderSource

MAGIC = struct.pack("<I", 0xCED7230A)


def framed(data: bytes) -> bytes:
    """A record of a .rec file as dmlc's RecordIOWriter writes it: in parts where the magic number is within it."""
    parts, start = [], 0
    for place in range(0, len(data) - 3, 4):
        if data[place : place + 4] == MAGIC:
            parts.append(data[start:place])
            start = place + 4
    parts.append(data[start:])
    last = len(parts) - 1
    flags = [0] if not last else [1, *[2] * (last - 1), 3]
    return b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def packed(image: bytes, label: float | Sequence[float], number: int) -> bytes:
    """What mxnet.recordio.pack makes of IRHeader(0, label, number, 0) and an image."""
    if isinstance(label, (int, float)):
        return struct.pack("<IfQQ", 0, label, number, 0) + image
    return struct.pack(f"<IfQQ{len(label)}f", len(label), 0.0, number, 0, *label) + image


def write_records(path: Path, records: Iterable[tuple[int, bytes]], *, index: bool = True) -> Path:
    """A .rec file of records (number, content) in this order, and with `index` the .idx file beside it."""
    lines, content = [], b""
    for number, data in records:
        lines.append(f"{number}\t{len(content)}\n")
        content += framed(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if index:
        path.with_suffix(".idx").write_text("".join(lines))
    return path


def insightface_records(people: Mapping[str, Sequence[bytes]]) -> list[tuple[int, bytes]]:
    """Records as InsightFace's face2rec2.py writes them: images from 1 on, the header as number 0, the identities."""
    images: list[tuple[int, bytes]] = []
    ranges = []
    for label, files in enumerate(people.values()):
        first = len(images) + 1
        images += [(first + place, packed(data, (label, 1.0), first + place)) for place, data in enumerate(files)]
        ranges.append((first, len(images) + 1))
    end = len(images) + 1
    header = (0, packed(b"", (end, end + len(ranges)), 0))
    return [*images, header, *((end + place, packed(b"", found, end + place)) for place, found in enumerate(ranges))]


def faces_of(folder: Path, keys: Sequence[str] | None = None) -> dict[str, dict[str, bytes]]:
    """The image files of a folder by person and name, in the order of a face source."""
    source = FolderSource(folder)
    found: dict[str, dict[str, bytes]] = {}
    for key in source.keys() if keys is None else sorted(keys, key=lambda one: one.split("/")):
        person, _, name = key.rpartition("/")
        found.setdefault(person, {})[name] = source.read(key)
    return found


def write_recordio(target: Path, faces: Mapping[str, Mapping[str, bytes]], *, names: bool = False) -> Path:
    """A folder as InsightFace hands it on: train.rec, train.idx, property, and with `names` train.lst."""
    people = {person: list(files.values()) for person, files in faces.items()}
    write_records(target / "train.rec", insightface_records(people))
    (target / "property").write_text(f"{len(people)},112,112")
    if names:
        lines = [f"1\t{p}/{n}\t{label}\n" for label, (p, files) in enumerate(faces.items()) for n in files]
        (target / "train.lst").write_text("".join(lines))
    return target


def write_tar(target: Path, members: Mapping[str, bytes], *, kind: int = tarfile.PAX_FORMAT, mode: str = "w:") -> Path:
    """A tar of files by name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target


def folder_members(faces: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """Members person/image of a tar."""
    return {f"{person}/{name}": data for person, files in faces.items() for name, data in files.items()}


def webdataset_members(faces: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """Members as WebDataset numbers them: 000000.jpg and 000000.cls with the place of the person."""
    found: dict[str, bytes] = {}
    for label, files in enumerate(faces.values()):
        for name, data in files.items():
            number = len(found) // 2
            found[f"{number:06d}{Path(name).suffix}"] = data
            found[f"{number:06d}.cls"] = str(label).encode()
    return found
