"""The manifest of an artifact: what the model is, what it takes, where it comes from. Stored as manifest.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.schema import FileSchema
from efq.runtime.errors import SchemaError
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.lineage.lineage import Lineage
from efq.runtime.probe.probe import check_probe_record

SCHEMA_VERSION = 2
OLDEST_SCHEMA_VERSION = 1

OPTIONAL_GROUPS = ("interface", "probe", "lineage")
"""Keys of version 2 that may be absent, each an object with keys of its own, None in `Manifest` where it is absent."""

LARGEST_EMBEDDING = 2**16

REDUCED_RANGE = "reduced_range"
"""The key of the recipe that says that all weights have 7 bits or fewer."""

REQUANTIZED = "requantized"
"""The key of the recipe that says how quantizing the student anew for the target changed it."""

_SCHEMA = FileSchema(
    file="manifest.json",
    version=SCHEMA_VERSION,
    oldest=OLDEST_SCHEMA_VERSION,
    remedy="export the model again with efq-export",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a user of an artifact has to know. Every field is required but the optional groups.

    schema_version: of the file; one of version 1 is read, and written again, as it is, and has no optional groups.
    name: the model's name. target: the runtime it was exported for ("ort-cpu").
    bits: {"weights": 2-8, "activations": 2-8}. backbone: its name in the registry. recipe: how it was quantized.
    input: the input contract. embedding_size: d of the (N, d) embeddings, which have unit length.
    teacher: {"name", "sha256", "licence"}. data: {"images", "identities", "sha256", "licence"} of the training faces.
    licence: of the artifact. thresholds: cosine threshold by false accept rate ("1e-3"); may be empty.
    coverage: the integer coverage report. tools: version by package. created: ISO 8601 date.

    What came with version 2 is an optional group each (`OPTIONAL_GROUPS`), so that what one part of EFQ adds to an
    artifact has one place, with its own keys:

    interface: the graph's surface; None is the usual one, uint8 NHWC RGB in, embeddings out.
    probe: {"least_cosine"} of the probe in the artifact's files (`efq.runtime.probe.probe`); None where none is.
    lineage: what else is known of where it comes from, as `Lineage.to_dict` has it; None where nothing is.
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
    interface: Mapping[str, Any] | None = None
    probe: Mapping[str, Any] | None = None
    lineage: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _SCHEMA.expect_version(self.schema_version)
        for field in ("name", "target", "backbone", "licence", "created"):
            _SCHEMA.expect_text(field, getattr(self, field))
        for field in ("bits", "recipe", "teacher", "data", "thresholds", "coverage", "tools"):
            _SCHEMA.expect(isinstance(getattr(self, field), Mapping), field, "an object", getattr(self, field))
        fits = type(self.embedding_size) is int and 0 < self.embedding_size <= LARGEST_EMBEDDING
        _SCHEMA.expect(fits, "embedding_size", f"an integer from 1 to {LARGEST_EMBEDDING}", self.embedding_size)
        _SCHEMA.expect(self.l2_normalized is True, "l2_normalized", "true", self.l2_normalized)
        _SCHEMA.expect_keys("bits", set(self.bits), {"weights", "activations"})
        _SCHEMA.expect_keys("teacher", set(self.teacher), {"name", "sha256", "licence"})
        _SCHEMA.expect_keys("data", set(self.data), {"images", "identities", "sha256", "licence"})
        for name, bits in self.bits.items():
            _SCHEMA.expect(type(bits) is int and 2 <= bits <= 8, f"bits.{name}", "an integer from 2 to 8", bits)
        for rate, threshold in self.thresholds.items():
            _SCHEMA.expect_between(f"thresholds.{rate}", threshold, -1, 1)
        for field in ("images", "identities"):
            _SCHEMA.expect_count(f"data.{field}", self.data[field])
        for record, fields in ((self.teacher, ("name", "sha256")), (self.data, ("sha256",)), (self.tools, self.tools)):
            for field in fields:
                _SCHEMA.expect_text(field, record[field])
        for record in (self.teacher, self.data):
            if record["licence"] is not None:
                _SCHEMA.expect_text("licence", record["licence"])
        requantized = self.recipe.get(REQUANTIZED)
        if requantized is not None:
            _SCHEMA.expect(isinstance(requantized, Mapping), REQUANTIZED, "an object", requantized)
            _SCHEMA.expect_between(f"{REQUANTIZED}.mean_cosine", requantized.get("mean_cosine", 1), -1.001, 1.001)
        _check_coverage(self.coverage)
        for field in self._groups:
            _SCHEMA.expect(isinstance(getattr(self, field), Mapping), field, "an object", getattr(self, field))
            _SCHEMA.expect(self.schema_version > 1, field, "no such key in version 1", getattr(self, field))
        if self.probe is not None:
            check_probe_record(self.probe, _SCHEMA)
        _ = self.surface
        _ = self.origin

    @property
    def _groups(self) -> tuple[str, ...]:
        """The optional groups that are there."""
        return tuple(field for field in OPTIONAL_GROUPS if getattr(self, field) is not None)

    @property
    def origin(self) -> Lineage:
        """What is known of where it comes from: `lineage`, read. Raises SchemaError where that does not fit."""
        try:
            return Lineage.from_dict({} if self.lineage is None else self.lineage)
        except ValueError as error:
            message = f"{error}, as lineage of {_SCHEMA.file}; {_SCHEMA.remedy}"
            raise SchemaError(message) from error

    @property
    def surface(self) -> Interface:
        """What the graph takes: `interface`, read. Raises SchemaError where that does not fit."""
        return USUAL if self.interface is None else Interface.from_dict(self.interface)

    @property
    def reduced_range(self) -> bool:
        """Whether all weights have 7 bits or fewer, so that no kernel's products saturate."""
        return self.recipe.get(REDUCED_RANGE) is True

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, indented by two, a newline at the end; without the groups that are not there."""
        absent = set(OPTIONAL_GROUPS) - set(self._groups)
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in absent
        }
        values["input"] = self.input.to_dict()
        return json.dumps(values, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text. Raises SchemaError for other schema versions, or keys or values that do not fit."""
        values = _SCHEMA.parse(text)
        _SCHEMA.expect_version(values.get("schema_version"))
        fields = {field.name for field in dataclasses.fields(cls)}
        optional = frozenset(OPTIONAL_GROUPS)
        known = fields if values["schema_version"] > 1 else fields - optional
        _SCHEMA.expect_keys(_SCHEMA.file, set(values), known, optional=optional & known)
        for field in optional & set(values):
            _SCHEMA.expect(isinstance(values[field], dict), field, "an object", values[field])
        _SCHEMA.expect(isinstance(values["input"], dict), "input", "an object", values["input"])
        try:
            contract = InputContract.from_dict(values["input"])
        except TypeError as error:
            message = f"expected an input contract in manifest.json, found {values['input']}; {_SCHEMA.remedy}"
            raise SchemaError(message) from error
        return cls(**(values | {"input": contract}))


def _check_coverage(coverage: Mapping[str, Any]) -> None:
    """What its readers compute with or print, where it is there: counts, or a fraction alone."""
    for key in ("convolutions", "matrix_products", "multiply_adds"):
        if key not in coverage:
            continue
        count, field = coverage[key], f"coverage.{key}"
        if not isinstance(count, Mapping):
            _SCHEMA.expect_between(field, count, 0, 1)
            continue
        _SCHEMA.expect_keys(field, set(count), {"integer", "total", "fraction"}, optional={"fraction"})
        for name in ("integer", "total"):
            _SCHEMA.expect_count(f"{field}.{name}", count[name])
        _SCHEMA.expect(count["integer"] <= count["total"], field, "a part of a total", dict(count))
        _SCHEMA.expect_between(f"{field}.fraction", count.get("fraction", 0), 0, 1)
    for key in ("float_islands", "float_products", "conversions", "layout_changes", "epilogue"):
        nodes = coverage.get(key, [])
        _SCHEMA.expect(isinstance(nodes, list | tuple), f"coverage.{key}", "a list", nodes)
        for node in nodes:
            _SCHEMA.expect(isinstance(node, Mapping), f"coverage.{key}", "objects", node)
            for name in ("name", "op_type"):
                _SCHEMA.expect_text(f"coverage.{key}.{name}", node.get(name))
    shares = coverage.get("elementwise", [])
    _SCHEMA.expect(isinstance(shares, list | tuple), "coverage.elementwise", "a list", shares)
    for share in shares:
        _SCHEMA.expect(isinstance(share, Mapping), "coverage.elementwise", "objects", share)
        for name in ("operations", "arithmetic"):
            _SCHEMA.expect_text(f"coverage.elementwise.{name}", share.get(name))
        _SCHEMA.expect_count("coverage.elementwise.nodes", share.get("nodes"))
        _expect_share("coverage.elementwise.time_share", share.get("time_share"))
    _expect_share("coverage.float_time_share", coverage.get("float_time_share"))
    _SCHEMA.expect_text("coverage.runtime", coverage.get("runtime", ""))
    _SCHEMA.expect_count("coverage.images", coverage.get("images", 0))


def _expect_share(field: str, value: object) -> None:
    if value is not None:
        _SCHEMA.expect_between(field, value, 0, 1.001)  # of sums of times in different orders
