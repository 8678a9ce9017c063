"""What a gallery says of itself: whose embeddings these are, and which other model's probes may search them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.artifact.manifest import LARGEST_EMBEDDING
from efq.runtime.artifact.schema import FileSchema
from efq.runtime.errors import IncompatibleArtifactError

SCHEMA_VERSION = 1

_SCHEMA = FileSchema(
    file="the gallery's record", version=SCHEMA_VERSION, remedy="write the gallery again with efq-embed or efq-migrate"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingModel:
    """The model that embeddings are of: what vectors have to share to be compared.

    sha256: of an artifact's model.onnx, or of a teacher's or a student's file: 64 hexadecimal digits; None where nobody
    knows. name: of the artifact or file. embedding_size: d of the (N, d) embeddings.
    Raises SchemaError for values that do not fit, as all records here do.
    """

    sha256: str | None
    name: str
    embedding_size: int

    def __post_init__(self) -> None:
        fits = self.sha256 is None or (isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256) is not None)
        _SCHEMA.expect(fits, "model.sha256", "64 hexadecimal digits or null", self.sha256)
        _SCHEMA.expect_text("model.name", self.name)
        fits = type(self.embedding_size) is int and 0 < self.embedding_size <= LARGEST_EMBEDDING
        _SCHEMA.expect(fits, "model.embedding_size", f"an integer from 1 to {LARGEST_EMBEDDING}", self.embedding_size)

    def same_as(self, other: EmbeddingModel) -> bool:
        """Whether both are known and one."""
        return self.sha256 is not None and self.sha256 == other.sha256

    def __str__(self) -> str:
        digest = "of unknown digest" if self.sha256 is None else f"SHA-256 {self.sha256[:16]}..."
        return f"{self.name} ({digest}, {self.embedding_size} values)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchedBy:
    """That probes of another model may search the gallery as it is, as a certificate says.

    model: of the probes. thresholds: the cosine above which to accept a probe of it, by FMR ("1e-4"); deployed: the
    same for the threshold that was in use before, by that threshold as text; empty where none was named.
    certificate_sha256: of the certificate that says so. statement: it, in words.
    """

    model: EmbeddingModel
    thresholds: Mapping[str, float]
    deployed: Mapping[str, float]
    certificate_sha256: str
    statement: str

    def __post_init__(self) -> None:
        for field in ("thresholds", "deployed"):
            values = getattr(self, field)
            _SCHEMA.expect(isinstance(values, Mapping), f"searched_by.{field}", "an object", values)
            for name, value in values.items():
                _SCHEMA.expect_text(f"searched_by.{field}", name)
                _SCHEMA.expect_between(f"searched_by.{field}.{name}", value, -1.001, 1.001)
        digest = self.certificate_sha256
        fits = isinstance(digest, str) and _SHA256.fullmatch(digest) is not None
        _SCHEMA.expect(fits, "searched_by.certificate_sha256", "64 hexadecimal digits", digest)
        _SCHEMA.expect_text("searched_by.statement", self.statement)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Where embeddings come from that were not computed from the faces alone, or not first enrolled with this model.

    kind: "re-embed" from stored crops, or "map" from another model's embeddings. model: the one the people were
    enrolled with before. figures: what was measured of it, plain values; for a map its certificate.
    """

    kind: str
    model: EmbeddingModel
    figures: Mapping[str, Any]

    def __post_init__(self) -> None:
        _SCHEMA.expect(self.kind in ("re-embed", "map"), "origin.kind", "re-embed or map", self.kind)
        _SCHEMA.expect(isinstance(self.figures, Mapping), "origin.figures", "an object", self.figures)
        _SCHEMA.expect_plain("origin.figures", self.figures)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryRecord:
    """The model of a gallery's embeddings, and the optional rest; None for what there is not."""

    model: EmbeddingModel
    searched_by: SearchedBy | None = None
    origin: Origin | None = None

    def allows(self, probes: EmbeddingModel) -> bool:
        """Whether probes of this model may search the gallery."""
        bound = self.searched_by
        return self.model.same_as(probes) or (bound is not None and bound.model.same_as(probes))

    def check_probes(self, probes: EmbeddingModel) -> None:
        """Raise IncompatibleArtifactError unless probes of this model may search the gallery."""
        bound = self.searched_by
        if self.allows(probes):
            return
        known = f"{self.model}" if bound is None else f"{self.model}, or {bound.model} by its certificate"
        message = f"expected probes of the gallery's model, {known}, found {probes}; migrate the gallery (efq-migrate)"
        raise IncompatibleArtifactError(message)

    def check_same(self, model: EmbeddingModel) -> None:
        """Raise IncompatibleArtifactError unless embeddings of this model may be enrolled."""
        if not self.model.same_as(model):
            message = (
                f"expected embeddings of the gallery's model, {self.model}, found those of {model}; migrate the "
                "gallery (efq-migrate)"
            )
            raise IncompatibleArtifactError(message)

    def to_json(self) -> str:
        """Canonical JSON on one line: keys sorted, every key there."""
        values = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)
        return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text. Raises SchemaError for other versions, or keys or values that do not fit."""
        values = _SCHEMA.parse(text)
        _SCHEMA.expect_version(values.pop("schema_version", None))
        found = _keys_checked(cls, _SCHEMA.file, values)
        bound, origin = found["searched_by"], found["origin"]
        return cls(
            model=_model(found["model"], "model"),
            searched_by=None if bound is None else SearchedBy(**_with_model(SearchedBy, "searched_by", bound)),
            origin=None if origin is None else Origin(**_with_model(Origin, "origin", origin)),
        )


def model_of_text(text: str) -> EmbeddingModel:
    """The model that JSON describes. Raises SchemaError."""
    return _model(_SCHEMA.parse(text), "model")


def _with_model(record: type[Any], field: str, values: object) -> dict[str, Any]:
    found = _keys_checked(record, field, values)
    return found | {"model": _model(found["model"], f"{field}.model")}


def _model(values: object, field: str) -> EmbeddingModel:
    return EmbeddingModel(**_keys_checked(EmbeddingModel, field, values))


def _keys_checked(record: type[Any], field: str, values: Any) -> dict[str, Any]:
    _SCHEMA.expect(isinstance(values, Mapping), field, "an object", values)
    _SCHEMA.expect_keys(field, set(values), {one.name for one in dataclasses.fields(record)})
    return dict(values)
