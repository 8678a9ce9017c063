"""What a run of many images says of itself: enough to go on with it, and to refuse to go on with another."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.schema import FileSchema
from efq.runtime.errors import UsageError
from efq.runtime.gallery.record import EmbeddingModel

SCHEMA_VERSION = 1

_SCHEMA = FileSchema(
    file="the manifest of the embeddings", version=SCHEMA_VERSION, remedy="embed the images again into a new folder"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The images of a run. images: how many. sha256: of the list of each shard, in their order.

    has_people: whether the list says who is on them; has_landmarks: whether faces are aligned by landmarks of it.
    root: of a folder of one folder per person the start of all paths; empty otherwise. folders: which of what was named
    were folders, counted from 0.
    """

    images: int
    sha256: tuple[str, ...]
    has_people: bool
    has_landmarks: bool
    root: str
    folders: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _SCHEMA.expect_count("listing.images", self.images)
        fits = isinstance(self.sha256, tuple) and all(isinstance(digest, str) for digest in self.sha256)
        _SCHEMA.expect(fits, "listing.sha256", "a list of texts", self.sha256)
        fits = all(_SHA256.fullmatch(digest) for digest in self.sha256)
        _SCHEMA.expect(fits, "listing.sha256", "64 hexadecimal digits each", self.sha256[:3])
        for field in ("has_people", "has_landmarks"):
            _SCHEMA.expect(
                type(getattr(self, field)) is bool, f"listing.{field}", "true or false", getattr(self, field)
            )
        _SCHEMA.expect(isinstance(self.root, str), "listing.root", "text", self.root)
        for place in self.folders:
            _SCHEMA.expect_count("listing.folders", place)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the numbers depend on. detector: SHA-256 of its file. sources: of all that was named, and from where."""

    backend: str
    batch: int
    detector: str | None
    exif_orientation: bool | None
    shard_images: int
    sources: str
    take: str

    def __post_init__(self) -> None:
        for field in ("batch", "shard_images"):
            _SCHEMA.expect_count(f"options.{field}", getattr(self, field))
        _SCHEMA.expect(self.shard_images > 0 < self.batch, "options", "counts above 0", self)
        for field in ("backend", "sources", "take"):
            _SCHEMA.expect_text(f"options.{field}", getattr(self, field))
        _SCHEMA.expect(isinstance(self.detector, str | None), "options.detector", "text or null", self.detector)
        turned = self.exif_orientation
        _SCHEMA.expect(
            turned is None or type(turned) is bool, "options.exif_orientation", "true, false or null", turned
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a run, or of a shard: images that were looked at, faces of them, and images that gave none."""

    images: int
    faces: int
    failed: int

    def __post_init__(self) -> None:
        for field in ("images", "faces", "failed"):
            _SCHEMA.expect_count(f"outcome.{field}", getattr(self, field))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BulkRecord:
    """The manifest. efq: the version that began the run. outcome: None while it is not finished."""

    efq: str
    model: EmbeddingModel
    input: InputContract
    options: Options
    listing: Listing
    outcome: Outcome | None = None

    @property
    def shards(self) -> range:
        """Their numbers."""
        return range(len(self.listing.sha256))

    def images_in(self, shard: int) -> int:
        """How many images a shard is of."""
        size = self.options.shard_images
        return min(size, self.listing.images - shard * size)

    def check_same(self, model: EmbeddingModel, options: Options) -> None:
        """Raise UsageError unless a run of this model and these options may go on with this one."""
        old = {"model": str(self.model)} | dataclasses.asdict(self.options)
        new = {"model": str(model)} | dataclasses.asdict(options)
        changed = [f"{name} {old[name]} (now {new[name]})" for name in old if old[name] != new[name]]
        if changed:
            message = (
                f"expected to go on with a run of the same images, artifact and options, found one of "
                f"{', '.join(changed)}: name what it began with, or another output"
            )
            raise UsageError(message)

    def to_json(self) -> str:
        """Canonical JSON."""
        values = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)
        return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text. Raises SchemaError for other versions, or keys or values that do not fit."""
        values = _SCHEMA.parse(text)
        _SCHEMA.expect_version(values.pop("schema_version", None))
        found = _checked(cls, "the manifest", values)
        _SCHEMA.expect_text("efq", found["efq"])
        listing = _checked(Listing, "listing", found["listing"])
        for field in ("sha256", "folders"):
            _SCHEMA.expect(isinstance(listing[field], list), f"listing.{field}", "a list", listing[field])
            listing[field] = tuple(listing[field])
        record = cls(
            efq=found["efq"],
            model=EmbeddingModel(**_checked(EmbeddingModel, "model", found["model"])),
            input=InputContract.from_dict(_checked(InputContract, "input", found["input"])),
            options=Options(**_checked(Options, "options", found["options"])),
            listing=Listing(**listing),
            outcome=None if found["outcome"] is None else Outcome(**_checked(Outcome, "outcome", found["outcome"])),
        )
        size = record.options.shard_images
        fits = -(-record.listing.images // size) == len(record.listing.sha256)
        _SCHEMA.expect(fits, "listing.sha256", f"a digest for each {size} of the images", len(record.listing.sha256))
        return record


def _checked(record: type[Any], field: str, values: Any) -> dict[str, Any]:
    _SCHEMA.expect(isinstance(values, Mapping), field, "an object", values)
    _SCHEMA.expect_keys(field, set(values), {one.name for one in dataclasses.fields(record)})
    return dict(values)
