"""The artifact: a folder with a model, its manifest and the checksums of both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Self

from efq.runtime.artifact.manifest import Manifest
from efq.runtime.artifact.parity import ParityRecord
from efq.runtime.errors import ChecksumError, IncompatibleArtifactError, InputError, SchemaError
from efq.runtime.files import atomic_write_text, sha256_file

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
PARITY_FILE = "parity.json"
TRAINING_DATA_FILE = "training_data.json"
CARD_FILE = "README.md"
CHECKSUMS_FILE = "checksums.sha256"
ENGINE_FOLDER = "engine"

CONTRACT_KEY = "efq.contract"
SCHEMA_VERSION_KEY = "efq.schema_version"

_EXPORT_AGAIN = "copy the artifact again from where it was made, or export it again with efq-export"
_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact whose manifest and checksums were verified when it was opened."""

    directory: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        return self.directory / MODEL_FILE

    @classmethod
    def open(cls, directory: Path | str) -> Self:
        """Read and verify the artifact in `directory`.

        Raises IncompatibleArtifactError when there is none, SchemaError for a manifest that does not fit,
        ChecksumError when a file is missing or differs from its recorded hash.
        """
        directory = Path(directory)
        if not directory.is_dir():
            found = "a file" if directory.exists() else "nothing"
            message = f"expected an artifact folder at {directory}, found {found}; make one with efq-export"
            raise IncompatibleArtifactError(message)
        manifest = Manifest.from_json(_read_text(directory / MANIFEST_FILE, SchemaError))
        verify_checksums(directory)
        return cls(directory=directory, manifest=manifest)

    def model_bytes(self) -> bytes:
        """The model, read at once: what is loaded is what was verified, whatever becomes of the file.

        Raises ChecksumError when it is not what the checksums say.
        """
        try:
            content = self.model_path.read_bytes()
        except OSError as error:
            message = f"expected the model at {self.model_path}, found: {error}; {_EXPORT_AGAIN}"
            raise ChecksumError(message) from error
        expected, found = read_checksums(self.directory)[MODEL_FILE], hashlib.sha256(content).hexdigest()
        if found != expected:
            message = f"expected SHA-256 {expected} of {self.model_path}, found {found}; {_EXPORT_AGAIN}"
            raise ChecksumError(message)
        return content

    def parity(self) -> ParityRecord | None:
        """What was measured of the artifact, None where nothing was.

        Raises SchemaError for a record that does not fit.
        """
        path = self.directory / PARITY_FILE
        return ParityRecord.from_json(_read_text(path, SchemaError)) if path.exists() else None

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
    return {
        CONTRACT_KEY: json.dumps(manifest.input.to_dict(), sort_keys=True),
        SCHEMA_VERSION_KEY: str(manifest.schema_version),
    }


def write_checksums(directory: Path) -> None:
    """Write checksums.sha256 over every other file of the folder, in the format of `sha256sum`.

    The engine folder is left out: it is a cache that a machine may replace, with hashes in its own fingerprint.
    """
    files = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    kept = [name for name in files if name != CHECKSUMS_FILE and not name.startswith(f"{ENGINE_FOLDER}/")]
    lines = [f"{sha256_file(directory / name)}  {name}\n" for name in kept]
    atomic_write_text(directory / CHECKSUMS_FILE, "".join(lines))


def read_checksums(directory: Path) -> dict[str, str]:
    """SHA-256 by file name from checksums.sha256. Raises ChecksumError for a list that cannot be trusted."""
    path = directory / CHECKSUMS_FILE
    hashes: dict[str, str] = {}
    for number, line in enumerate(_read_text(path, ChecksumError).splitlines(), start=1):
        match = _CHECKSUM_LINE.fullmatch(line)
        if match is None or not _is_inside(match[2]):
            message = f"expected '<sha256>  <name>' of a file of the artifact in {path}:{number}, found {line!r}"
            raise ChecksumError(message)
        hashes[match[2]] = match[1]
    for name in (MODEL_FILE, MANIFEST_FILE):
        if name not in hashes:
            message = f"expected the hash of {name} in {path}, found none; {_EXPORT_AGAIN}"
            raise ChecksumError(message)
    return hashes


def verify_checksums(directory: Path) -> None:
    """Check every file listed in checksums.sha256. Raises ChecksumError when one is missing or was changed."""
    for name, expected in read_checksums(directory).items():
        try:
            found = sha256_file(directory / name)
        except InputError as error:
            message = f"{error} (listed in {CHECKSUMS_FILE}); {_EXPORT_AGAIN}"
            raise ChecksumError(message) from error
        if found != expected:
            message = f"expected SHA-256 {expected} of {directory / name}, found {found}; {_EXPORT_AGAIN}"
            raise ChecksumError(message)


def _read_text(path: Path, error_class: type[IncompatibleArtifactError]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"expected a readable text file at {path}, found: {error}; {_EXPORT_AGAIN}"
        raise error_class(message) from error


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
