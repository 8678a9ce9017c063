"""The one reader of torch files: known by their first bytes, looked at before torch opens them, then read as data."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

import torch

from efq.runtime.errors import CheckpointError
from efq.runtime.file_kinds import FIRST_BYTES, PICKLE, ZIP, FileKind, kind_of_bytes
from efq.runtime.reading import open_regular
from efq.toolchain.backbones.pickled import PickleContentError, StorageRecord, read_pickle, refuse, tensors_of

LARGEST = 16 * 2**30
"""Bytes of a torch file: one of a training with a million identities has 6 GB."""

_LARGEST_PICKLE = 32 * 2**20  # names, sizes and plain values; one of a network has less than 1 MB
_MOST_RECORDS = 100_000
_BEYOND_THE_FILE = 2**30  # bytes of tensors that show the same memory several times, besides those of the file
_EXPECTED = "a torch file of plain tensors (torch.save(model.state_dict(), path))"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: a number, then more pickles
_ZIPS = (  # by an entry's name: what wrote it, what to do
    ("constants.pkl", "a TorchScript archive, which holds code", "save the state dict: torch.jit.load(f).state_dict()"),
    ("archive_format", "an exported program (torch.export), which holds code", "save the model's state_dict()"),
    ("manifest.json", "a TorchServe archive (.mar)", "unpack it and give the checkpoint inside"),
    ("config.json", "a Keras model or another zip of many files", "export the network to ONNX"),
    (".npy", "numpy arrays (.npz)", "load them into the network and save its state_dict()"),
)


def looks_like_torch_file(path: Path) -> bool:
    """Whether `path` is a regular file that can be read and begins as torch's do."""
    try:
        with open_regular(path, limit=LARGEST, expected=_EXPECTED, error_class=CheckpointError) as file:
            return kind_of_bytes(file.read(FIRST_BYTES)) in (ZIP, PICKLE)
    except CheckpointError:
        return False


def read_outline(path: Path) -> Any:
    """The plain values of a torch file, records in place of its tensors; nothing is loaded.

    Raises CheckpointError as `read_torch_file` does.
    """
    with open_regular(path, limit=LARGEST, expected=_EXPECTED, error_class=CheckpointError) as file:
        return _look(file, path)


def read_torch_file(path: Path) -> Any:
    """What torch.save wrote to `path`: plain values, and dense tensors on the CPU.

    Raises CheckpointError for anything else, naming what was found: another format, code, a damaged or truncated file,
    or a tensor that is sparse, quantized or has no values.
    """
    with open_regular(path, limit=LARGEST, expected=_EXPECTED, error_class=CheckpointError) as file:
        _look(file, path)
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


def refuse_other_file(path: Path, expected: str) -> NoReturn:
    """Raises CheckpointError saying what is at `path`, which is no file of a known network."""
    with open_regular(path, limit=LARGEST, expected=expected, error_class=CheckpointError) as file:
        kind = kind_of_bytes(file.read(FIRST_BYTES))
    message = f"expected {expected} at {path}, found {_describe(kind)}"
    raise CheckpointError(message)


def _describe(kind: FileKind | None) -> str:
    return kind.sentence if kind is not None else "a file of no format that is known"


def _look(file: BufferedReader, path: Path) -> Any:
    """The outline of `file`, once everything in it was found in order."""
    start = file.read(FIRST_BYTES)
    kind = kind_of_bytes(start)
    size = os.fstat(file.fileno()).st_size
    try:
        if kind is ZIP:
            content, stored = _look_into_zip(file)
        elif start.startswith(_LEGACY):
            content, stored = _look_into_legacy(file), size
        else:
            _refuse(path, _describe(kind))
        _check_tensors(content, stored)
    except PickleContentError as error:
        _refuse(path, str(error), error)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        _refuse(path, "a torch file that is truncated or damaged; fetch it again", error)
    return content


def _look_into_zip(file: BufferedReader) -> tuple[Any, int]:
    """The outline of a zip as torch writes it (PyTorchStreamWriter), and the bytes of its memory."""
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
        file.seek(_begin(file, found[0]))
        content = read_pickle(io.BytesIO(file.read(found[0].file_size)))
        folder = found[0].filename.removesuffix("data.pkl")
        sizes = {record.filename: record.file_size for record in records}
        for place, tensor in tensors_of(content):
            storage = tensor.storage
            if storage is not None and sizes.get(f"{folder}data/{storage.key}") != storage.bytes:
                refuse(f"no memory of {storage.bytes:,} bytes for {place}: the file is damaged")
        return content, sum(sizes.values())


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


def _begin(file: BufferedReader, record: zipfile.ZipInfo) -> int:
    """Where a record's bytes begin: behind its local header, whose name and extra field have lengths of their own."""
    file.seek(record.header_offset)
    header = file.read(30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile
    return record.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _look_into_legacy(file: BufferedReader) -> Any:
    """The outline of what torch.save wrote before 1.6: three pickles, the content, the keys of its memory, memory."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    pickles = io.BytesIO(file.read(_LARGEST_PICKLE))
    *_, content, keys = [read_pickle(pickles) for _ in range(5)]
    storages = {storage.key: storage for storage in _storages(content)}
    needed = sum(storage.bytes + 8 for storage in storages.values())
    if not isinstance(keys, list) or set(keys) != set(storages) or pickles.tell() + needed > size:
        refuse("a torch file that is truncated or damaged; fetch it again")
    return content


def _storages(content: Any) -> list[StorageRecord]:
    return [tensor.storage for _, tensor in tensors_of(content) if tensor.storage is not None]


def _check_tensors(content: Any, stored: int) -> None:
    """Dense, and together no larger than what the file holds, but for some that show the same memory again."""
    total = 0
    for place, tensor in tensors_of(content):
        if tensor.storage is None:
            refuse(f"the tensor {place}, which is {tensor.kind}; save dense float32 tensors")
        total += tensor.elements * tensor.storage.width
        if total > stored + _BEYOND_THE_FILE:
            refuse(f"the tensor {place} of {tensor.shape}, larger than the file")


def _refuse(path: Path, found: str, cause: BaseException | None = None) -> NoReturn:
    message = f"expected {_EXPECTED} at {path}, found {found}"
    raise CheckpointError(message) from cause
