"""The manifest of an artifact: what the model is, what it takes, where it comes from. Stored as manifest.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import SchemaError

SCHEMA_VERSION = 1

REDUCED_RANGE = "reduced_range"
"""The entry of `recipe` that says that all weights have 7 bits or fewer."""

REQUANTIZED = "requantized"
"""The entry of `recipe` that says how quantizing the student anew for the target changed it."""

_EXPORT_AGAIN = "export the model again with efq-export"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a user of an artifact has to know; every field is required.

    name: the model's name. target: the runtime it was exported for ("ort-cpu").
    bits: {"weights": 2-8, "activations": 2-8}. backbone: its name in the registry. recipe: how it was quantized.
    input: the input contract. embedding_size: d of the (N, d) embeddings, which have unit length.
    teacher: {"name", "sha256", "licence"}. data: {"images", "identities", "sha256", "licence"} of the training faces.
    licence: of the artifact. thresholds: cosine threshold by false accept rate ("1e-3"); may be empty.
    coverage: the integer coverage report. tools: version by package. created: ISO 8601 date.
    Raises SchemaError for values that do not fit.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    target: str
    bits: Mapping[str, int]
    backbone: str
    recipe: Mapping[str, Any]
    input: InputContract
    embedding_size: int
    l2_normalized: bool = True
    teacher: Mapping[str, Any]
    data: Mapping[str, Any]
    licence: str
    thresholds: Mapping[str, float]
    coverage: Mapping[str, Any]
    tools: Mapping[str, str]
    created: str

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
        for field in ("name", "target", "backbone", "licence", "created"):
            _expect(isinstance(getattr(self, field), str), field, "text", getattr(self, field))
        for field in ("bits", "recipe", "teacher", "data", "thresholds", "coverage", "tools"):
            _expect(isinstance(getattr(self, field), Mapping), field, "an object", getattr(self, field))
        _expect(_is_count(self.embedding_size), "embedding_size", "a positive integer", self.embedding_size)
        _expect(self.l2_normalized is True, "l2_normalized", "true", self.l2_normalized)
        _expect_keys("bits", self.bits, {"weights", "activations"})
        _expect_keys("teacher", self.teacher, {"name", "sha256", "licence"})
        _expect_keys("data", self.data, {"images", "identities", "sha256", "licence"})
        for name, bits in self.bits.items():
            _expect(_is_count(bits) and 2 <= bits <= 8, f"bits.{name}", "an integer from 2 to 8", bits)
        for rate, threshold in self.thresholds.items():
            valid = isinstance(threshold, float | int) and -1 <= threshold <= 1
            _expect(valid, f"thresholds.{rate}", "a cosine from -1 to 1", threshold)

    @property
    def reduced_range(self) -> bool:
        """Whether all weights have 7 bits or fewer, whose products never saturate."""
        return self.recipe.get(REDUCED_RANGE) is True

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, indented by two, a newline at the end."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["input"] = self.input.to_dict()
        return json.dumps(values, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text. Raises SchemaError for other schema versions, or keys or values that do not fit."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"expected JSON in manifest.json, found text that is not ({error}); {_EXPORT_AGAIN}"
            raise SchemaError(message) from error
        _expect(isinstance(values, dict), "manifest.json", "an object", values)
        _check_version(values.get("schema_version"))
        _expect_keys("manifest.json", values, {field.name for field in dataclasses.fields(cls)})
        _expect(isinstance(values["input"], dict), "input", "an object", values["input"])
        try:
            contract = InputContract.from_dict(values["input"])
        except TypeError as error:
            message = f"expected an input contract in manifest.json, found {values['input']}; {_EXPORT_AGAIN}"
            raise SchemaError(message) from error
        return cls(**(values | {"input": contract}))


def _check_version(version: object) -> None:
    if type(version) is int and version == SCHEMA_VERSION:
        return
    newer = type(version) is int and version > SCHEMA_VERSION
    what_to_do = "update efq (pip install --upgrade efq)" if newer else _EXPORT_AGAIN
    message = f"expected schema_version {SCHEMA_VERSION} in manifest.json, found {version!r}; {what_to_do}"
    raise SchemaError(message)


def _expect(condition: bool, field: str, expected: str, found: object) -> None:
    if not condition:
        message = f"expected {expected} as {field} of the manifest, found {found!r}; {_EXPORT_AGAIN}"
        raise SchemaError(message)


def _expect_keys(field: str, values: Mapping[str, object], expected: set[str]) -> None:
    missing, unknown = sorted(expected - set(values)), sorted(set(values) - expected)
    if missing or unknown:
        found = " and ".join(
            f"{kind} {', '.join(names)}" for kind, names in (("without", missing), ("with unknown", unknown)) if names
        )
        message = f"expected the keys {', '.join(sorted(expected))} in {field}, found them {found}; {_EXPORT_AGAIN}"
        raise SchemaError(message)


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0
