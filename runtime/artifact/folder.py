"""The artifact: a folder with a model, its manifest and the checksums of every file."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from efq.runtime.arguments import path_of
from efq.runtime.artifact.listing import check_inside, files_of, is_plain_name
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.errors import ChecksumError, IncompatibleArtifactError, SchemaError, UsageError
from efq.runtime.probe.probe import PROBE_FILE, PROBE_IMAGE_FILE, Probe
from efq.runtime.reading import decode_text, read_bytes, read_text, sha256_file

if TYPE_CHECKING:  # a service starts without what only reports need
    from efq.runtime.artifact.parity import ParityRecord
    from efq.runtime.artifact.training_data import TrainingData
    from efq.runtime.certificate.certificate import Certificate

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
PARITY_FILE = "parity.json"
CERTIFICATE_FILE = "certificate.json"
CERTIFICATE_PAGE_FILE = "certificate.html"
TRAINING_DATA_FILE = "training_data.json"
CARD_FILE = "README.md"
CHECKSUMS_FILE = "checksums.sha256"
ENGINE_FOLDER = "engine"

CONTRACT_KEY = "efq.contract"
INTERFACE_KEY = "efq.interface"
SCHEMA_VERSION_KEY = "efq.schema_version"

LARGEST_MODEL = 2**31
"""Bytes: no protocol buffer has more."""

_TEXTS = (MANIFEST_FILE, PARITY_FILE, CERTIFICATE_FILE, CARD_FILE, CHECKSUMS_FILE)
_LIMITS = {MODEL_FILE: LARGEST_MODEL} | dict.fromkeys(_TEXTS, 2**22)
_OTHER_LIMIT = 2**28  # training_data.json of five million images
_MOST_FILES, _MOST_BYTES = 100, 2**32

_EXPECTED = f"a file of the artifact, as {CHECKSUMS_FILE} lists them,"
_EXPORT_AGAIN = "copy the artifact again from where it was made, or export it again with efq-export"
_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact whose manifest and checksums were verified when it was opened.

    checksums: SHA-256 by file name, as they were then. What is read of the folder later has to be the same.
    """

    directory: Path
    manifest: Manifest
    checksums: Mapping[str, str]

    @property
    def model_path(self) -> Path:
        return self.directory / MODEL_FILE

    @classmethod
    def open(cls, directory: Path | str) -> Self:
        """Read and verify the artifact in `directory`.

        Raises IncompatibleArtifactError when there is none, SchemaError for a manifest that does not fit,
        ChecksumError when a file is missing, differs from its recorded hash or has none; UsageError for no path.
        """
        directory = path_of(directory, "an artifact's folder")
        _check_is_folder(directory)
        content = _read(directory, MANIFEST_FILE, SchemaError)
        path = directory / MANIFEST_FILE
        manifest = Manifest.from_json(decode_text(content, path, expected="a manifest", error_class=SchemaError))
        checksums = read_checksums(directory)
        _check_hash(path, expected=checksums[MANIFEST_FILE], found=hashlib.sha256(content).hexdigest())
        verify_checksums(directory, checksums)
        return cls(directory=directory, manifest=manifest, checksums=checksums)

    def read(self, name: str) -> bytes:
        """The bytes of a listed file: what was verified, whatever became of the folder.

        Raises ChecksumError when that is gone or was changed since, UsageError for a name that is not listed.
        """
        if not (isinstance(name, str) and name in self.checksums):
            message = f"expected one of the files {', '.join(self.checksums)}, by its name, found {name!r:.100}"
            raise UsageError(message)
        content = _read(self.directory, name, ChecksumError)
        found = hashlib.sha256(content).hexdigest()
        _check_hash(self.directory / name, expected=self.checksums[name], found=found)
        return content

    def model_bytes(self) -> bytes:
        """The model, read at once: what is loaded is what was verified. Raises ChecksumError as `read` does."""
        return self.read(MODEL_FILE)

    def parity(self) -> ParityRecord | None:
        """What was measured of the artifact, None where nothing was.

        Raises SchemaError for a record that does not fit, ChecksumError as `read` does.
        """
        from efq.runtime.artifact.parity import ParityRecord

        return ParityRecord.from_json(self._text(PARITY_FILE)) if PARITY_FILE in self.checksums else None

    def certificate(self) -> Certificate | None:
        """What is certified of the artifact, None where nothing is.

        Raises SchemaError for a record that does not fit, or that is another artifact's; ChecksumError as `read` does.
        """
        if CERTIFICATE_FILE not in self.checksums:
            return None
        from efq.runtime.certificate.certificate import Certificate

        found = Certificate.from_json(self._text(CERTIFICATE_FILE))
        self.check_certificate(found)
        return found

    def check_certificate(self, certificate: Certificate) -> None:
        """Raise SchemaError for one that is another artifact's, by its model or its teacher."""
        for what, expected, certified in (
            (MODEL_FILE, self.checksums[MODEL_FILE], certificate.binding.model_sha256),
            ("the teacher", self.manifest.teacher["sha256"], certificate.binding.teacher_sha256),
        ):
            if certified != expected:
                message = (
                    f"expected as {self.directory / CERTIFICATE_FILE} a certificate of this artifact, with SHA-256 "
                    f"{expected} of {what}, found one with {certified}; certify it with efq-bench --certify"
                )
                raise SchemaError(message)

    def training_data(self) -> TrainingData:
        """Which images it was fine-tuned on.

        Raises SchemaError where there is no record or one that does not fit, ChecksumError as `read` does.
        """
        if TRAINING_DATA_FILE not in self.checksums:
            message = f"expected {TRAINING_DATA_FILE} in {self.directory}, found none: export the student again"
            raise SchemaError(message)
        from efq.runtime.artifact.training_data import TrainingData

        return TrainingData.from_json(self._text(TRAINING_DATA_FILE))

    def probe(self) -> Probe | None:
        """An image with its expected embedding, None in an artifact of before there were any.

        Raises SchemaError for files that hold no such probe, ChecksumError where they are missing, or as `read` does.
        """
        manifest = self.manifest
        if manifest.probe is None:
            return None
        for name in (PROBE_IMAGE_FILE, PROBE_FILE):
            if name not in self.checksums:
                message = f"expected {name} in {self.directory}, as {MANIFEST_FILE} says, found none; {_EXPORT_AGAIN}"
                raise ChecksumError(message)
        image, text = self.read(PROBE_IMAGE_FILE), self._text(PROBE_FILE)
        return Probe.from_files(image, text, manifest.probe, manifest.input, manifest.embedding_size)

    def _text(self, name: str) -> str:
        path = self.directory / name
        return decode_text(self.read(name), path, expected="a text file", error_class=SchemaError)

    def check_model_metadata(self, metadata: Mapping[str, str]) -> None:
        """Check that the metadata of model.onnx says what the manifest says. Raises SchemaError otherwise."""
        for key, expected in model_metadata(self.manifest).items():
            found = metadata.get(key)
            if found is None or _parsed(found) != _parsed(expected):
                message = (
                    f"expected {key} = {expected} (as in {MANIFEST_FILE}) in the metadata of {self.model_path}, "
                    f"found {found}; {_EXPORT_AGAIN}"
                )
                raise SchemaError(message)


def model_metadata(manifest: Manifest) -> dict[str, str]:
    """The metadata_props that model.onnx carries, so that a model and a manifest of two artifacts cannot be mixed."""
    interface = {} if manifest.surface.is_usual else {INTERFACE_KEY: str(manifest.surface)}
    return {
        CONTRACT_KEY: json.dumps(manifest.input.to_dict(), sort_keys=True),
        SCHEMA_VERSION_KEY: str(manifest.schema_version),
        **interface,
    }


def write_checksums(directory: Path) -> None:
    """Write checksums.sha256 over every other file of the folder, in the format of `sha256sum`.

    The engine folder is left out: it is a cache that a machine may replace, with hashes in its own fingerprint. So is
    what EFQ never reads (`efq.runtime.artifact.listing`).
    """
    from efq.runtime.files import atomic_write_text  # a service writes nothing

    lines = [f"{_sha256(directory, name)}  {name}\n" for name in _files_to_list(directory)]
    atomic_write_text(directory / CHECKSUMS_FILE, "".join(lines))


def read_checksums(directory: Path) -> dict[str, str]:
    """SHA-256 by file name from checksums.sha256. Raises ChecksumError for a list that cannot be trusted."""
    path = directory / CHECKSUMS_FILE
    hashes: dict[str, str] = {}
    text = read_text(path, expected="a list of checksums", limit=_LIMITS[CHECKSUMS_FILE], error_class=ChecksumError)
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        match = _CHECKSUM_LINE.fullmatch(line.removesuffix("\r"))
        if match is None or not is_plain_name(match[2]) or match[2] in hashes or len(hashes) >= _MOST_FILES:
            message = (
                f"expected '<sha256>  <name>' of a file of the artifact in {path}:{number}, each once and at most "
                f"{_MOST_FILES}, found {line[:200]!r}"
            )
            raise ChecksumError(message)
        hashes[match[2]] = match[1]
    for name in (MODEL_FILE, MANIFEST_FILE):
        if name not in hashes:
            message = f"expected the hash of {name} in {path}, found none; {_EXPORT_AGAIN}"
            raise ChecksumError(message)
    return hashes


def verify_checksums(directory: Path, checksums: Mapping[str, str]) -> None:
    """Check every file of the folder against `checksums`.

    Raises ChecksumError when one is missing, was changed, is not listed, lies outside the folder, is no regular file or
    larger than such a file can be.
    """
    unlisted = itertools.islice((name for name in _files_to_list(directory) if name not in checksums), 5)
    if names := ", ".join(map(repr, unlisted)):
        message = f"expected in {directory} the files that {CHECKSUMS_FILE} lists, found {names} too; move them away"
        raise ChecksumError(message)
    left = _MOST_BYTES
    for name, expected in checksums.items():
        _check_hash(directory / name, expected=expected, found=_sha256(directory, name, limit=left))
        left -= (directory / name).stat().st_size


def _check_is_folder(directory: Path) -> None:
    try:
        is_folder, is_something = directory.is_dir(), directory.exists()
        is_another = is_folder and not os.path.lexists(directory / MANIFEST_FILE)
    except OSError as error:
        message = f"expected an artifact folder at {directory}, found: {error.strerror or error}"
        raise IncompatibleArtifactError(message) from error
    if not is_folder:
        found = "a file" if is_something else "nothing"
        message = f"expected an artifact folder at {directory}, found {found}; make one with efq-export"
        raise IncompatibleArtifactError(message)
    if is_another:
        message = (
            f"expected an artifact's {directory / MANIFEST_FILE}, found none: name the folder that efq-export wrote"
        )
        raise SchemaError(message)


def _files_to_list(directory: Path) -> Iterator[str]:
    return files_of(directory, left_out=(CHECKSUMS_FILE, ENGINE_FOLDER))


def _read(directory: Path, name: str, error_class: type[IncompatibleArtifactError]) -> bytes:
    check_inside(directory, name)
    limit = _LIMITS.get(name, _OTHER_LIMIT)
    return read_bytes(directory / name, limit=limit, expected=_EXPECTED, error_class=error_class)


def _sha256(directory: Path, name: str, *, limit: int = _MOST_BYTES) -> str:
    check_inside(directory, name)
    limit = min(limit, _LIMITS.get(name, _OTHER_LIMIT))
    return sha256_file(directory / name, limit=limit, expected=_EXPECTED, error_class=ChecksumError)


def _check_hash(path: Path, *, expected: str, found: str) -> None:
    if found != expected:
        message = f"expected SHA-256 {expected} of {path}, found {found}; {_EXPORT_AGAIN}"
        raise ChecksumError(message)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
