"""Recipes: how a student is lowered and distilled, as one frozen record read from a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

from efq.runtime.errors import UsageError
from efq.runtime.reading import read_text
from efq.toolchain.data.augmentation import Augmentation

MOST_STEPS = 10_000_000

FULL_BITS, REDUCED_BITS = 8, 7
"""Of the widest grid of weights: what an int8 tensor holds, and of it what products never saturate with."""

_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
RANGES: dict[str, tuple[float, float]] = {
    "weight_bits": (2, 8),
    "activation_bits": (2, 8),
    "edge_weight_bits": (2, 8),
    "keep_8bit_share": (0.0, 1.0),
    "exact_share": (0.0, 1.0),
    "pruned_share": (0.0, 0.9),
    "steps": (0, MOST_STEPS),
    "identities_per_batch": (1, 4096),
    "images_per_identity": (1, 64),
    "learning_rate": (0.0, 1.0),
    "range_learning_rate": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "warmup_share": (0.0, 1.0),
    "float_share": (0.0, 0.95),
    "metric_weight": (0.0, 1000.0),
    "feature_weight": (0.0, 1000.0),
    "calibration_images": (1, 100_000),
    "fitting_images": (1, 100_000),
}
_MOST_IMAGES = 16_384  # of a step
_LONGEST_NAME = 100
_LARGEST_FILE = 2**20

_CHOICES = {"float_phase": ("all", "activations"), "elementwise_8bit": ("none", "sums", "all")}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One way to make a student; names in parentheses are those of passes in `efq.toolchain.lowering`.

    `activation` is what becomes of PReLU (`relu`, `leaky`, `prelu`, `mixed`; lowering.activations),
    `exact_share` the share of activation elements `mixed` keeps exact, `layers` pairs of a name pattern and a kind.
    `pruned_share` is the share of the multiply-adds to remove, as channels inside blocks (prune_channels).
    Weights of 8 bits use 7 of them, -63 to 63 in int8 tensors, wherever this record says 8: the products of an
    integer kernel then are exact on every CPU (docs/decisions/0040-seven-bit-weights.md). `full_range` uses all 8,
    and so does TensorRT's form, which needs no such care. `edge_weight_bits` are the least bits of the first and
    last layer, `keep_8bit` name patterns of layers whose weights and output keep 8 bits, `keep_8bit_share` the
    share of all weights that keeps 8 bits where fewer cost most for their size (keep_sensitive).
    `elementwise_8bit` keeps 8 bits for what `sums` and pools read, or for what `all` elementwise operations read,
    PReLUs too (narrow_for_products). `activation_zero_points` lets signed activations learn a zero point
    (targets with unsigned activations). `symmetric_activations` is TensorRT's form: every quantizer int8 with zero
    point 0, only where a convolution, a linear layer or one branch of an addition reads, and PReLUs as they are
    (insert_symmetric_quantizers). `learning_rate` is relative to each tensor's size, `range_learning_rate`
    that of the logarithm of every scale. The first `float_share` of the steps trains with the quantizers passing
    floats through, in bfloat16 where the device is faster so; then the scales start anew. That is all quantizers,
    or only those of activations where `float_phase` is "activations" and not "all".
    `metric_weight` multiplies the evaluation-based metric loss, 0 leaves it out. `feature_weight` multiplies the loss
    on residual sums at the first step and falls linearly to 0 at the last. `steps` counts optimizer steps of
    identities_per_batch * images_per_identity images.
    """

    name: str
    weight_bits: int = 8
    full_range: bool = False
    activation_bits: int = 8
    edge_weight_bits: int = 8
    keep_8bit: tuple[str, ...] = ()
    keep_8bit_share: float = 0.0
    elementwise_8bit: str = "none"
    activation: str = "mixed"
    exact_share: float = 0.3
    pruned_share: float = 0.0
    layers: tuple[tuple[str, str], ...] = ()
    activation_zero_points: bool = True
    symmetric_activations: bool = False
    steps: int = 2000
    identities_per_batch: int = 32
    images_per_identity: int = 2
    learning_rate: float = 1e-3
    range_learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_share: float = 0.05
    float_share: float = 0.0
    float_phase: str = "all"
    metric_weight: float = 0.0
    feature_weight: float = 0.0
    calibration_images: int = 256
    fitting_images: int = 256
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= _LONGEST_NAME or not self.name.isprintable():
            message = f"expected the name of a recipe, 1 to {_LONGEST_NAME} printable characters, found {self.name!r}"
            raise UsageError(message)
        for known in dataclasses.fields(self):
            value, types = getattr(self, known.name), _TYPES.get(str(known.type))
            if types is not None and (not isinstance(value, types) or isinstance(value, bool) != (types == (bool,))):
                message = f"recipe {self.name!r}: expected {known.name} to be {known.type}, found {value!r}"
                raise UsageError(message)
        for field, (low, high) in RANGES.items():
            value = getattr(self, field)
            if not low <= value <= high:
                message = f"recipe {self.name!r}: expected {field} between {low:g} and {high:g}, found {value!r}"
                raise UsageError(message)
        if self.batch > _MOST_IMAGES:
            message = f"recipe {self.name!r}: expected at most {_MOST_IMAGES} images a step, found {self.batch}"
            raise UsageError(message)
        kinds = ("relu", "leaky", "prelu", "mixed")
        for kind in (self.activation, *[kind for _, kind in self.layers]):
            if kind not in kinds:
                message = f"recipe {self.name!r}: expected an activation of {kinds}, found {kind!r}"
                raise UsageError(message)
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                expected = " or ".join(map(repr, choices))
                message = f"recipe {self.name!r}: expected {field} {expected}, found {getattr(self, field)!r}"
                raise UsageError(message)

    @property
    def batch(self) -> int:
        """Images a step."""
        return self.identities_per_batch * self.images_per_identity

    @property
    def widest_weight_bits(self) -> int:
        """The bits of the widest grid that weights are put on."""
        return FULL_BITS if self.full_range or self.symmetric_activations else REDUCED_BITS

    @property
    def float_steps(self) -> int:
        """The first steps, which train with quantizers that pass floats through."""
        return int(self.steps * self.float_share)

    @property
    def starts_with_float_weights(self) -> bool:
        """Whether weights are put on their grid after the float steps only."""
        return self.float_steps > 0 and self.float_phase == "all"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` reads them."""
        values = dataclasses.asdict(self)
        values["layers"] = dict(self.layers)
        values["keep_8bit"] = list(self.keep_8bit)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Raises UsageError for unknown keys or values out of range."""
        names = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown or "name" not in values:
            message = f"expected the recipe keys {sorted(names)}, found unknown {unknown}, name {values.get('name')!r}"
            raise UsageError(message)
        arguments = dict(values)
        arguments["layers"] = tuple(_table(values, "layers").items())
        arguments["keep_8bit"] = _patterns(values)
        arguments["augmentation"] = _augmentation(_table(values, "augmentation"))
        return cls(**arguments)


def _table(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = values.get(key, {})
    if not isinstance(table, Mapping):
        message = f"expected [{key}] of the recipe to be a table, found {table!r}"
        raise UsageError(message)
    return dict(table)


def _patterns(values: Mapping[str, Any]) -> tuple[str, ...]:
    patterns = values.get("keep_8bit", ())
    if not isinstance(patterns, list | tuple) or not all(isinstance(pattern, str) for pattern in patterns):
        message = f"expected keep_8bit of the recipe to be a list of name patterns, found {patterns!r}"
        raise UsageError(message)
    return tuple(patterns)


def _augmentation(values: Mapping[str, Any]) -> Augmentation:
    types = {field.name: str(field.type) for field in dataclasses.fields(Augmentation)}
    unknown = sorted(set(values) - set(types))
    if unknown:
        message = f"expected the augmentation keys {sorted(types)}, found unknown {unknown}"
        raise UsageError(message)
    wrong = sorted(
        key for key, value in values.items() if isinstance(value, bool) or not isinstance(value, _TYPES[types[key]])
    )
    if wrong:
        key = wrong[0]
        message = f"expected {key} of the recipe's augmentation to be {types[key]}, found {values[key]!r}"
        raise UsageError(message)
    return Augmentation(**values)


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with EFQ."""
    folder = resources.files("efq.toolchain.recipes")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or of a TOML file. Raises UsageError when there is none or it does not parse."""
    path = Path(name)
    if name in recipe_names():
        text = resources.files("efq.toolchain.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    elif path.suffix == ".toml":
        expected = f"a recipe, one of {', '.join(recipe_names())} or a .toml file,"
        text = read_text(path, expected=expected, limit=_LARGEST_FILE, error_class=UsageError)
    else:
        message = f"unknown recipe {name!r}: expected one of {', '.join(recipe_names())}, or the path of a .toml file"
        raise UsageError(message)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for a number of thousands of digits
        message = f"cannot read the recipe {name}: {error}"
        raise UsageError(message) from error
    return Recipe.from_dict({"name": path.stem, **values})
