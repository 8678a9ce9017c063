"""The one reader of torch files: known by their first bytes, looked at before torch opens them, then read as data."""

from __future__ import annotations

import dataclasses
import io
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

import torch

from efq.runtime.errors import CheckpointError
from efq.runtime.file_kinds import FIRST_BYTES, PICKLE, ZIP, kind_of_bytes
from efq.runtime.reading import open_regular
from efq.toolchain.checkpoints.other_files import found_kind
from efq.toolchain.checkpoints.pickled import read_pickle
from efq.toolchain.checkpoints.records import ArrayRecord, PickleContentError, records_of, refuse, tensors_of

LARGEST = 16 * 2**30
"""Bytes of a torch file: one of a training with a million identities has 6 GB."""

_LARGEST_PICKLE = 32 * 2**20  # names, sizes and plain values; one of a network has less than 1 MB
_LARGEST_ARRAYS = 2**30  # a pickle that is no torch file holds its arrays itself
_MOST_RECORDS = 100_000
_BEYOND_THE_FILE = 2**30  # bytes of tensors that show the same memory several times, besides those of the file
_EXPECTED = "a torch file of plain tensors (torch.save(model.state_dict(), path))"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: a number, then more pickles
_TO_WEIGHTS = 'torch.save(m.state_dict(), "weights.pt")'
_EXPORTED = "an exported program (torch.export), which holds code"
_FROM_EXPORTED = f"save its state dict: m = torch.export.load(file).module(); {_TO_WEIGHTS}"
_ZIPS = (  # by an entry's name: what wrote it, what to do
    (
        "constants.pkl",
        "a TorchScript archive, which holds code",
        f"save its state dict: m = torch.jit.load(file); {_TO_WEIGHTS}",
    ),
    ("archive_format", _EXPORTED, _FROM_EXPORTED),
    ("serialized_exported_program.json", _EXPORTED, _FROM_EXPORTED),  # of earlier torch
    ("manifest.json", "a TorchServe archive (.mar)", "unpack it and give the checkpoint inside"),
    ("config.json", "a Keras model or another zip of many files", "export the network to ONNX"),
    (
        ".npy",
        "numpy arrays (.npz)",
        'a = np.load(file); torch.save({k: torch.from_numpy(a[k]) for k in a}, "weights.pt")',
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outline:
    """What a torch file holds: `content`, plain values with records in place of tensors, arrays and objects.

    memory: where the bytes of each memory lie in the file, (first, how many), by its key. bytes: of all memory.
    foreign: what in it stands for an object of another's class, in words. form: of the file, for messages.
    """

    form: str
    content: Any
    memory: Mapping[str, tuple[int, int]]
    bytes: int
    foreign: tuple[str, ...]


def looks_like_torch_file(path: Path) -> bool:
    """Whether `path` is a regular file that can be read and begins as torch's do."""
    try:
        with open_regular(path, limit=LARGEST, expected=_EXPECTED, error_class=CheckpointError) as file:
            return kind_of_bytes(file.read(FIRST_BYTES)) in (ZIP, PICKLE)
    except CheckpointError:
        return False


def read_outline(path: Path) -> Outline:
    """What is in a torch file; nothing is loaded, and objects in it are not made.

    Raises CheckpointError for another format, a damaged or truncated file, or an archive of code.
    """
    with open_regular(path, limit=LARGEST, expected=_EXPECTED, error_class=CheckpointError) as file:
        return _look(file, path)


def read_torch_file(path: Path) -> Any:
    """What torch.save wrote to `path`: plain values, and dense tensors on the CPU.

    Raises CheckpointError for anything else, naming what was found: another format, objects of any class, a damaged or
    truncated file, or a tensor that is sparse, quantized or has no values.
    """
    with open_regular(path, limit=LARGEST, expected=_EXPECTED, error_class=CheckpointError) as file:
        outline = _look(file, path, arrays=False)
        try:
            _check_plain(outline)
        except PickleContentError as error:
            _refuse(path, str(error), error)
        file.seek(0)
        try:
            with warnings.catch_warnings():  # of dtypes that torch has deprecated: not for the user of EFQ
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except MemoryError as error:
            _refuse(path, f"tensors of {os.fstat(file.fileno()).st_size:,} bytes, more than memory holds", error)
        except Exception as error:  # what the look did not find: torch's own words are for those who wrote the file
            _refuse(path, "a file that torch cannot read: it is damaged or was written by a newer torch", error)


def _check_plain(outline: Outline) -> None:
    if outline.foreign:
        refuse(outline.foreign[0])
    for place, record in records_of(outline.content):
        if isinstance(record, ArrayRecord):
            refuse(f"a numpy array ({place[:100]}); save tensors")
    for place, tensor in tensors_of(outline.content):
        if tensor.storage is None:
            refuse(f"the tensor {place}, which is {tensor.kind}; save dense float32 tensors")


def _look(file: BufferedReader, path: Path, *, arrays: bool = True) -> Outline:
    """The outline of `file`, once everything in it was found in order; with `arrays` that of a pickle of them, too."""
    start = file.read(FIRST_BYTES)
    kind = kind_of_bytes(start)
    try:
        if kind is ZIP:
            outline = _look_into_zip(file)
        elif start.startswith(_LEGACY):
            outline = _look_into_legacy(file)
        elif kind is PICKLE and arrays:
            outline = _look_into_pickle(file)
        else:
            _refuse(path, found_kind(kind))
        _check_sizes(outline)
    except PickleContentError as error:
        _refuse(path, str(error), error)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        _refuse(path, "a torch file that is truncated or damaged; fetch it again", error)
    return outline


def _look_into_zip(file: BufferedReader) -> Outline:
    """Of a zip as torch writes it (PyTorchStreamWriter)."""
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        names = {record.filename.lower() for record in records}
        found = [record for record in records if record.filename.endswith("/data.pkl")]
        for entry, what, advice in _ZIPS:
            if any(name.endswith(entry) for name in names):
                refuse(f"{what}; {advice}")
        if len(found) != 1 or found[0].filename.count("/") != 1:
            refuse("a zip archive that is none of torch's; unpack it")
        if len(names) < len(records) or len(records) > _MOST_RECORDS or archive.comment:
            refuse("a zip archive with records that torch does not write")
        _check_extents(records, os.fstat(file.fileno()).st_size)
        if found[0].file_size > _LARGEST_PICKLE:
            refuse(f"plain values of {found[0].file_size:,} bytes, not tensors")
        _check_sums(file, archive, records)
        pickled = read_pickle(io.BytesIO(_content(file, found[0])))
        folder = found[0].filename.removesuffix("data.pkl")
        by_name = {record.filename: record for record in records}
        order = by_name.get(f"{folder}byteorder")
        if order is not None and _content(file, order) != b"little":
            refuse("numbers with their first byte first (byteorder); save it again on another machine")
        memory: dict[str, tuple[int, int]] = {}
        for storage in pickled.storages:
            record = by_name.get(f"{folder}data/{storage.key}")
            if record is None or record.file_size != storage.bytes:
                refuse(f"no memory {storage.key[:20]!r} of {storage.bytes:,} bytes: the file is damaged")
            memory[storage.key] = _begin(file, record), storage.bytes
        held = sum(record.file_size for record in records)
        return Outline(form="torch", content=pickled.content, memory=memory, bytes=held, foreign=pickled.foreign)


def _check_extents(records: list[zipfile.ZipInfo], size: int) -> None:
    """Stored as they are, one behind the other: nothing unpacks to more than the file holds."""
    end = 0
    for record in sorted(records, key=lambda record: record.header_offset):
        if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
            refuse("a zip archive with compressed or encrypted records, which torch does not write")
        if record.file_size != record.compress_size or record.header_offset < end:
            refuse("a zip archive with records that overlap")
        end = record.header_offset + record.compress_size
    if end > size or min(record.header_offset for record in records) != 0:
        refuse("a torch file that is truncated or damaged; fetch it again")


def _check_sums(file: BufferedReader, archive: zipfile.ZipFile, records: list[zipfile.ZipInfo]) -> None:
    """The CRC-32 of every record; none is right where torch was told to leave them out (set_crc32_options)."""
    filled = [record for record in records if record.file_size]
    wrong = [record.filename for record in filled if _sum(file, record) != record.CRC]
    if wrong and len(wrong) < len(filled):
        refuse(f"a damaged file (the checksum of its record {wrong[0]!r} differs); fetch it again")


def _sum(file: BufferedReader, record: zipfile.ZipInfo) -> int:
    file.seek(_begin(file, record))
    found, left = 0, record.file_size
    while left and (part := file.read(min(left, 1 << 22))):
        found, left = zlib.crc32(part, found), left - len(part)
    return -1 if left else found


def _content(file: BufferedReader, record: zipfile.ZipInfo) -> bytes:
    file.seek(_begin(file, record))
    return file.read(record.file_size)


def _begin(file: BufferedReader, record: zipfile.ZipInfo) -> int:
    """Where a record's bytes begin: behind its local header, whose name and extra field have lengths of their own."""
    file.seek(record.header_offset)
    header = file.read(30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile
    return record.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _look_into_legacy(file: BufferedReader) -> Outline:
    """Of what torch.save wrote before 1.6: five pickles (two numbers, the machine, the content, the keys of its
    memory), then the memory of each key: how many numbers, and these.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    pickles = io.BytesIO(file.read(_LARGEST_PICKLE))
    *_, pickled, keys = [read_pickle(pickles) for _ in range(5)]
    storages = {storage.key: storage for storage in pickled.storages}
    if not isinstance(keys.content, list) or set(keys.content) != set(storages):
        refuse("a torch file that is truncated or damaged; fetch it again")
    memory: dict[str, tuple[int, int]] = {}
    place = pickles.tell()
    for key in keys.content:
        memory[key] = place + 8, storages[key].bytes
        place += 8 + storages[key].bytes
    if place > size:
        refuse("a torch file that is truncated or damaged; fetch it again")
    return Outline(form="torch", content=pickled.content, memory=memory, bytes=size, foreign=pickled.foreign)


def _look_into_pickle(file: BufferedReader) -> Outline:
    """Of a pickle alone, which holds arrays where it holds weights."""
    file.seek(0)
    data = file.read(_LARGEST_ARRAYS)
    try:
        pickled = read_pickle(io.BytesIO(data))
    except PickleContentError as error:
        refuse(f"a pickle, which is never opened, and whose content is not known ({error})")
    if not any(isinstance(record, ArrayRecord) for _, record in records_of(pickled.content)):
        refuse(f"a pickle, which is never opened, without arrays in it; {_TO_WEIGHTS}")
    return Outline(form="pickled arrays", content=pickled.content, memory={}, bytes=len(data), foreign=pickled.foreign)


def _check_sizes(outline: Outline) -> None:
    """Together no larger than what the file holds, but for some that show the same memory again."""
    total = 0
    for place, tensor in tensors_of(outline.content):
        total += tensor.elements * tensor.dtype.itemsize if tensor.storage is not None else 0
        if total > outline.bytes + _BEYOND_THE_FILE:
            refuse(f"the tensor {place} of {tensor.shape}, larger than the file")


def _refuse(path: Path, found: str, cause: BaseException | None = None) -> NoReturn:
    message = f"expected {_EXPECTED} at {path}, found {found}"
    raise CheckpointError(message) from cause
