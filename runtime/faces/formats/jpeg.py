"""The structure of a JPEG file (ITU T.81, annex B): its markers walked from the first to the end of the image.

What follows the end of the image is none of it: the film of a motion photo, the further pictures of an MPO file.
Thumbnails lie inside segments, whose lengths are followed.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Iterator, Mapping, Sequence

from efq.runtime.faces.formats.problem import damaged, early, unusual

_EOI, _SOS, _DHT, _DQT, _DRI, _DNL = 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xDC
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_APP1, _EXIF = 0xE1, b"Exif\0\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}
_SEGMENTS = frozenset({_DHT, 0xCC, _DQT, _DNL, _DRI, _SOS, 0xFE, *_FRAMES, *range(0xE0, 0xF0)})  # as T.81 has them
_RESTARTS = range(0xD0, 0xD8)
_MOST_SCANS = 200  # a progressive picture in its finest steps has fewer
_MOST_SCANNED = 4_000_000_000  # pixels, in all scans: each costs the decoder a pass over the picture

# The end of a scan's data: a marker that is neither a stuffed byte nor a restart; and a restart. Of the bytes 255 that
# may fill the room before a marker they begin with the last: a repetition takes time by the square of them.
_SCAN_END = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_FILL, _FILLED = b"\xff", re.compile(rb"\xff*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """A color channel: its sampling factors, its quantization table, and its size in blocks of 8x8 pixels."""

    identifier: int
    table: int
    horizontal: int
    vertical: int
    blocks: tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The header of the picture. `units` is its size in groups of blocks (MCUs) of scans over several components."""

    width: int
    height: int
    progressive: bool
    components: tuple[Component, ...]
    units: tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """A pass over the picture: which coefficients of which components it has, to which bit, and its data.

    dc, ac: for each of `components` the specification of its Huffman table, None where the file defined none.
    steps: for each of `components` the quantization step of a block's mean.
    segments: the data between restart markers, without stuffed bytes; `units_each` groups in all but the last.
    """

    components: tuple[Component, ...]
    dc: tuple[bytes | None, ...]
    ac: tuple[bytes | None, ...]
    steps: tuple[int, ...]
    first: int
    last: int
    high: int
    low: int
    units: int
    units_each: int
    segments: tuple[bytes, ...]


def exif_of(data: bytes) -> bytes:
    """The EXIF record, empty where there is none."""
    records = (segment for marker, segment in _headers(data) if marker == _APP1 and segment.startswith(_EXIF))
    return next(records, b"").removeprefix(_EXIF)


def frame_of(data: bytes) -> Frame:
    """The frame header. Raises DamagedImageError where there is none, or one of a form that is not read."""
    marker, segment = next(((marker, segment) for marker, segment in _headers(data) if marker in _FRAMES), (0, b""))
    if not marker:
        damaged("JPEG", "no frame header")
    return _frame(marker, segment)


def scans_of(data: bytes, frame: Frame) -> Iterator[Scan]:
    """Every scan, in the order of the file, up to the end of the image.

    Raises DamagedImageError where segments or restart markers do not follow each other as they must, and for a file
    that ends before the end of the image.
    """
    tables: dict[int, bytes] = {}
    steps: dict[int, int] = {}
    interval = count = 0
    for marker, segment, scan_data in _segments(data):
        if marker == _DHT:
            tables.update(_huffman_tables(segment))
        elif marker == _DQT:
            steps.update(_first_steps(segment))
        elif marker == _DRI:
            if len(segment) != 2:
                damaged("JPEG", "a restart interval of another length")
            interval = int.from_bytes(segment, "big")
        elif marker == _DNL:
            damaged("JPEG", "the height after the picture, which decoders do not read")
        elif marker == _SOS:
            count += 1
            if count > min(_MOST_SCANS, _MOST_SCANNED // (frame.width * frame.height)):
                damaged("JPEG", f"more than {count - 1} scans of {frame.width}x{frame.height} pixels")
            yield _scan(segment, scan_data, frame, tables, steps, interval)
    if not count:
        damaged("JPEG", "no scan")


def _headers(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and segment of all before the first scan."""
    return ((marker, segment) for marker, segment, _ in _segments(data, scans=False))


def _segments(data: bytes, *, scans: bool = True) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, segment without its length, and for a scan its data, to the end of the image or the first scan."""
    place = 2
    while True:
        if data[place : place + 1] not in (b"\xff", b""):
            damaged("JPEG", f"bytes between segments at {place}")
        marker_at = _after_fill(data, place)
        if marker_at >= len(data):
            early("JPEG")
        marker = data[marker_at]
        if marker == _EOI or (marker == _SOS and not scans):
            return
        if marker not in _SEGMENTS:
            damaged("JPEG", f"marker {marker:#04x} at {marker_at}")
        start = marker_at + 3
        length = int.from_bytes(data[marker_at + 1 : start], "big")
        end = marker_at + 1 + length
        if start > len(data) or end > len(data):
            early("JPEG")
        if length < 2:
            damaged("JPEG", f"a segment of {length} bytes at {marker_at}")
        segment, scan_data, place = data[start:end], b"", end
        if marker == _SOS:
            found = _SCAN_END.search(data, end)
            if found is None:
                early("JPEG")
            scan_data = data[end : found.start()].rstrip(_FILL)
            place = end + len(scan_data)
        yield marker, segment, scan_data


def _after_fill(data: bytes, place: int) -> int:
    found = _FILLED.match(data, place)
    assert found is not None
    return found.end()


def _frame(marker: int, segment: bytes) -> Frame:
    if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        unusual("a JPEG with arithmetic coding or without loss, which few programs read")
    if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
        damaged("JPEG", "a frame header of another length")
    precision, height, width, count = struct.unpack(">BHHB", segment[:6])
    if precision != 8:
        unusual(f"a JPEG of {precision} bits a sample")
    if not (height and width) or count not in (1, 3, 4):
        damaged("JPEG", f"a frame of {width}x{height} pixels and {count} components")
    entries = [segment[6 + 3 * index : 9 + 3 * index] for index in range(count)]
    factors = [(entry[1] >> 4, entry[1] & 15) for entry in entries]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):
        damaged("JPEG", f"sampling factors {factors}")
    widest, tallest = max(pair[0] for pair in factors), max(pair[1] for pair in factors)
    components = tuple(
        Component(
            identifier=entry[0],
            table=entry[2],
            horizontal=horizontal,
            vertical=vertical,
            blocks=(_ceil(_ceil(width * horizontal, widest), 8), _ceil(_ceil(height * vertical, tallest), 8)),
        )
        for entry, (horizontal, vertical) in zip(entries, factors, strict=True)
    )
    return Frame(
        width=width,
        height=height,
        progressive=marker == _PROGRESSIVE,
        components=components,
        units=(_ceil(width, 8 * widest), _ceil(height, 8 * tallest)),
    )


def _scan(
    segment: bytes,
    data: bytes,
    frame: Frame,
    tables: Mapping[int, bytes],
    steps: Mapping[int, int],
    interval: int,
) -> Scan:
    count = segment[0] if segment else 0
    if not 1 <= count <= 4 or len(segment) != 4 + 2 * count:
        damaged("JPEG", "a scan header of another length")
    by_identifier = {component.identifier: component for component in frame.components}
    named = [(segment[1 + 2 * index], segment[2 + 2 * index]) for index in range(count)]
    if len({identifier for identifier, _ in named} & set(by_identifier)) != count:
        damaged("JPEG", "a scan over components that the frame does not have")
    first, last, bits = segment[-3:]
    components = tuple(by_identifier[identifier] for identifier, _ in named)
    if not all(component.table in steps for component in components):
        damaged("JPEG", "a quantization table is missing")
    across, down = components[0].blocks if count == 1 else frame.units
    units = across * down
    parts = _RESTART.split(data) if interval else [data]
    pieces = tuple(part.rstrip(_FILL).replace(b"\xff\x00", b"\xff") for part in parts[::2])
    _check_restarts(parts[1::2], units, interval, data)
    return Scan(
        components=components,
        dc=tuple(tables.get(table >> 4) for _, table in named),
        ac=tuple(tables.get(16 + (table & 15)) for _, table in named),
        steps=tuple(steps[component.table] for component in components),
        first=first,
        last=last,
        high=bits >> 4,
        low=bits & 15,
        units=units,
        units_each=interval or units,
        segments=pieces,
    )


def _check_restarts(markers: Sequence[bytes], units: int, interval: int, data: bytes) -> None:
    if not interval:
        if _RESTART.search(data):
            damaged("JPEG", "restart markers without an interval")
        return
    expected = _ceil(units, interval) - 1
    in_turn = all(marker[0] == _RESTARTS[index % 8] for index, marker in enumerate(markers))
    if len(markers) != expected or not in_turn:
        damaged("JPEG", f"{len(markers)} restart markers of {expected}" + ("" if in_turn else ", not in turn"))


def _huffman_tables(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """Class and number (class * 16 + number), and the specification: 16 counts, then the symbols."""
    place = 0
    while place < len(segment):
        size = 17 + sum(segment[place + 1 : place + 17])
        specification = segment[place + 1 : place + size]
        if len(specification) != size - 1 or size > 17 + 256:
            damaged("JPEG", "a Huffman table of another length")
        yield segment[place], specification
        place += size


def _first_steps(segment: bytes) -> Iterator[tuple[int, int]]:
    """Number and first value of each quantization table, of 64 bytes or 64 numbers of two."""
    place = 0
    while place < len(segment):
        wide, number = segment[place] >> 4, segment[place] & 15
        table = segment[place + 1 : place + 1 + 64 * (1 + wide)]
        if wide > 1 or len(table) != 64 * (1 + wide):
            damaged("JPEG", "a quantization table of another length")
        yield number, int.from_bytes(table[: 1 + wide], "big")
        place += 1 + len(table)


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)
