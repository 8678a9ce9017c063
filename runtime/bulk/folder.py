"""The folder that a run of many images fills: what lies where in it, who may write to it, and what is finished."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from efq.runtime.bulk.parquet import KEY, metadata_of
from efq.runtime.bulk.record import BulkRecord, Outcome
from efq.runtime.errors import InputError, UsageError
from efq.runtime.files import atomic_file, atomic_write_bytes, atomic_write_text, sweep_partials
from efq.runtime.reading import read_text, sha256_file
from efq.runtime.writing.places import cannot_write, folder_place

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MANIFEST, FAILURES, EMBEDDINGS, UNFINISHED = "manifest.json", "failures.csv", "embeddings", "unfinished"
FAILURES_KEY = "efq.failures"
"""Of a shard's metadata: how many images failed, and the SHA-256 of the file that says why."""

_ROW = ("path", "reason")
_EXPECTED = "the manifest of embeddings"


class BulkFolder:
    """manifest.json, embeddings/00000.parquet and so on, failures.csv; while a run is not finished also unfinished/,
    with the list and the failures of each shard.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest, self.failures = root / MANIFEST, root / FAILURES
        self.embeddings, self._unfinished = root / EMBEDDINGS, root / UNFINISHED

    def shard(self, number: int) -> Path:
        """The embeddings of a shard."""
        return self.embeddings / f"{number:05}.parquet"

    def list_of(self, number: int) -> Path:
        """The images of a shard."""
        return self._unfinished / f"{number:05}.images.csv"

    def failures_of(self, number: int) -> Path:
        """The images of a shard that gave no face."""
        return self._unfinished / f"{number:05}.failures.csv"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder where it is not there, and hold it; what killed runs left half-written in it is removed.

        Raises UsageError where another run holds it, for what is no folder, and for a folder of anything else than the
        embeddings of such a run.
        """
        place = folder_place(self.root, replace=True)
        try:
            place.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_RDONLY) if fcntl is not None else None
        except OSError as error:
            raise cannot_write(self.root, error) from error
        try:
            self._lock(descriptor)
            self._refuse_others()
            for folder in (self.root, self.embeddings, self._unfinished):
                sweep_partials(folder)
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)
            with contextlib.suppress(OSError):
                place.rmdir()  # of a run that failed before it wrote anything

    def record(self) -> BulkRecord | None:
        """What the run in this folder says of itself; None where none has begun. Raises SchemaError, InputError."""
        if not self.manifest.exists():
            return None
        return BulkRecord.from_json(read_text(self.manifest, expected=_EXPECTED))

    @contextlib.contextmanager
    def listing(self) -> Iterator[None]:
        """Lists of shards are written in the block; without a run that has begun they go."""
        self.forget_lists()
        try:
            yield
        except BaseException:
            self.forget_lists()
            raise

    def begin(self, record: BulkRecord) -> None:
        """From here on the run can be resumed: the lists of its shards are there."""
        self.embeddings.mkdir(exist_ok=True)
        atomic_write_text(self.manifest, record.to_json())

    def forget_lists(self) -> None:
        """Remove what is needed while a run is not finished."""
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def outcome_of(self, record: BulkRecord, number: int) -> Outcome | None:
        """What came of a shard; None where it is not there, or not as this run wrote it."""
        path = self.shard(number)
        if not path.exists():
            return None
        try:
            faces, found = metadata_of(path)
            failed = json.loads(found.get(FAILURES_KEY, "{}"))
            count, digest = int(failed["images"]), failed["sha256"]
            whole = found.get(KEY) == shard_metadata(record, number)
            whole &= digest == sha256_file(self.failures_of(number), expected="the failures of a shard")
        except (InputError, ValueError, KeyError, TypeError):
            return None
        return Outcome(images=record.images_in(number), faces=faces, failed=count) if whole else None

    def check_finished(self, record: BulkRecord) -> None:
        """Raise InputError unless the shards of a finished run are there, as their own words have it."""
        for number in record.shards:
            path = self.shard(number)
            _, found = metadata_of(path)
            if found.get(KEY) != shard_metadata(record, number):
                message = f"expected a shard of the finished run at {path}, found another file: embed the images again"
                raise InputError(message)

    def write_failures(self, number: int, failures: Sequence[tuple[str, str]]) -> str:
        """Write the images of a shard that gave no face, with the reason; what the shard's metadata say of them."""
        path = self.failures_of(number)
        with atomic_file(path) as temporary:
            with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                csv.writer(file, lineterminator="\n").writerows(failures)
                file.flush()
                os.fsync(file.fileno())
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        return json.dumps({"images": len(failures), "sha256": digest}, sort_keys=True)

    def finish(self, record: BulkRecord) -> None:
        """Write one file of all failures, and in the manifest that this is all."""
        with atomic_file(self.failures) as temporary, temporary.open("wb") as file:
            file.write(f"{','.join(_ROW)}\n".encode())
            for number in record.shards:
                with self.failures_of(number).open("rb") as part:
                    shutil.copyfileobj(part, file)
            file.flush()
            os.fsync(file.fileno())
        atomic_write_bytes(self.manifest, record.to_json().encode())
        self.forget_lists()

    def _lock(self, descriptor: int | None) -> None:
        if descriptor is None:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"expected an output that no other run writes, found one at work on {self.root}: choose another"
            raise UsageError(message) from error
        except OSError:  # a file system without locks
            return

    def _refuse_others(self) -> None:
        known = {MANIFEST, FAILURES, EMBEDDINGS, UNFINISHED}
        try:
            found = sorted({path.name for path in self.root.iterdir()} - known)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        others = [name for name in found if not name.endswith(".partial")]
        if others:
            message = (
                f"expected a new or empty folder at {self.root}, or one of embeddings of efq-embed, found {others[0]} "
                "in it; choose another with -o"
            )
            raise UsageError(message)


def is_bulk_folder(path: Path) -> bool:
    """Whether a run of many images wrote, or writes, the folder."""
    try:
        return (path / MANIFEST).is_file()
    except (OSError, ValueError):
        return False


def shard_metadata(record: BulkRecord, number: int) -> str:
    """What a shard says of itself, JSON: model and input of its embeddings, and what it is a part of."""
    content = {
        "efq": record.efq,
        "gallery": {"sha256": record.model.sha256, "name": record.model.name, "size": record.model.embedding_size},
        "input": record.input.to_dict(),
        "crops": not record.listing.has_landmarks and record.options.detector is None,
        "root": record.listing.root,
        "shard": number,
        "shards": len(record.shards),
        "images_sha256": record.listing.sha256[number],
        "options": {"batch": record.options.batch, "backend": record.options.backend, "take": record.options.take},
    }
    return json.dumps(content, sort_keys=True, ensure_ascii=False)
