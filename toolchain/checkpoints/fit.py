"""Where in a file of weights those of a network are: the same names behind a prefix, whatever the prefix.

What dicts the weights are kept in and what a wrapper puts before their names are one thing here: the names of a file
are the keys that lead to a tensor with dots between, `state_dict.module.conv1.weight`, and the place of a network that
has `conv1.weight` is `state_dict.module.`.
"""

from __future__ import annotations

import collections
import dataclasses
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from efq.toolchain.checkpoints.weights_file import StoredTensor

Shapes = Mapping[str, tuple[int, ...]]

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # that torch puts in names
_COUNTER = "num_batches_tracked"  # of BatchNorm: read in training only
_NO_WEIGHT = re.compile(  # what counters of multiply-adds and fake quantizers leave in a network's layers
    r"(.*\.)?(num_batches_tracked|total_ops|total_params|n_averaged)"
    r"|(.*\.)?(activation_post_process|weight_fake_quant|fake_quant\w*)\..*"
)
_MOST_PLACES = 8
_FIRST, _LONGEST = 3, 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """The tensors at a `place` beside those of a network: `names` leads from the network's name to the file's.

    missing, shapes: the network's names that are not there, or of another shape. unknown: names there that a layer of
    the network would need to have; left_out: other names there, such as a head used in training. expected: how many
    tensors the network has, without counters. own_prefix: what all the network's own names begin with, not the file's.
    """

    place: str
    names: Mapping[str, str]
    missing: tuple[str, ...]
    shapes: tuple[str, ...]
    unknown: tuple[str, ...]
    left_out: tuple[str, ...]
    expected: int
    own_prefix: str = ""

    @property
    def fits(self) -> bool:
        return not (self.missing or self.shapes or self.unknown)

    @property
    def share(self) -> float:
        """How close it comes: of the tensors that the network or its place has, those that both have."""
        return len(self.names) / max(self.expected + len(self.unknown), 1)

    def __str__(self) -> str:
        """The first differences."""
        parts = (
            ("missing", self.missing),
            ("unknown", self.unknown),
            ("of another shape", self.shapes),
            ("beside them", self.left_out),
        )
        said = [f"{len(names)} {what} ({first_of(names)})" for what, names in parts if names]
        return f"{described(self.place)}{', '.join(said)}"


def described(place: str) -> str:
    """For a sentence: where the weights are, nothing where they are the file's own names."""
    return f"under {place[:80]!r} " if place else ""


def first_of(names: Sequence[str]) -> str:
    """The first few of a file's or network's names, in its order and not too long to read."""
    return ", ".join(name[:_LONGEST] for name in names[:_FIRST]) + (", ..." if len(names) > _FIRST else "")


def shown(names: Iterable[object]) -> str:
    """The first few of a file's names, sorted and not too long to read."""
    texts = reprlib.Repr()
    texts.maxstring, texts.maxlist = 80, 4
    return texts.repr(sorted(map(str, names)))


def fits_of(
    tensors: Mapping[str, StoredTensor],
    names: Iterable[str],
    shapes_at: Callable[[Mapping[str, StoredTensor]], Shapes | None],
    *,
    least_share: float = 0.0,
) -> list[Fit]:
    """The places that hold the network which usually has `names`, best first: all that fit, or else what comes closest.

    `shapes_at` gives the shapes of the network's tensors from what is at a place, None where no such network is. Names
    are compared as they are, then without what wrappers put in them, then without what all of the network's begin with.
    A place is looked at where at least `least_share` of `names` are.
    """
    usual = set(names)
    attempts = [(_as_it_is, usual, ""), (_unwrapped, set(map(_unwrapped, usual)), "")]
    if prefix := _common_prefix(attempts[1][1]):
        attempts.append((_unwrapped, {name.removeprefix(prefix) for name in attempts[1][1]}, prefix))
    closest: list[Fit] = []
    for spell, wanted, own_prefix in attempts:
        found = _attempt(tensors, wanted, shapes_at, spell, own_prefix, least_share)
        fitting = [fit for fit in found if fit.fits]
        if fitting:
            return fitting
        closest += found
    return sorted(closest, key=lambda fit: -fit.share)


def _attempt(
    tensors: Mapping[str, StoredTensor],
    wanted: set[str],
    shapes_at: Callable[[Mapping[str, StoredTensor]], Shapes | None],
    spell: Callable[[str], str],
    own_prefix: str,
    least_share: float,
) -> list[Fit]:
    spelled = _by_spelling(tensors, spell)
    found = []
    for place in _places(spelled, wanted, least_share * len(wanted)):
        inside = {name[len(place) :]: original for name, original in spelled.items() if name.startswith(place)}
        shapes = shapes_at({name: tensors[original] for name, original in inside.items()})
        if shapes is None:
            continue
        network = {spell(name).removeprefix(own_prefix): (name, shape) for name, shape in shapes.items()}
        original_place = _original_place(place, inside)
        found.append(_compare(original_place, inside, tensors, network, own_prefix))
    return found


def _by_spelling(tensors: Iterable[str], spell: Callable[[str], str]) -> dict[str, str]:
    """The file's names by their spelling, without those that are spelled alike."""
    counts = collections.Counter(map(spell, tensors))
    return {spell(name): name for name in tensors if counts[spell(name)] == 1}


def _places(names: Iterable[str], wanted: set[str], least: float) -> list[str]:
    """What stands before at least so many of the wanted names, most of them first."""
    votes: collections.Counter[str] = collections.Counter()
    for name in names:
        start = 0
        while True:
            if name[start:] in wanted:
                votes[name[:start]] += 1
            start = name.find(".", start) + 1
            if not start:
                break
    best = votes.most_common(_MOST_PLACES) or [("", 0)]
    return [place for place, count in best if count >= least]


def left_out(fit: Fit, tensors: Mapping[str, StoredTensor]) -> list[str]:
    """What a file holds beside the network that `fit` finds in it: a name, or what several share and how many it is."""
    used = set(fit.names.values())
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for name, stored in tensors.items():
        if name in used or stored.spare or _NO_WEIGHT.fullmatch(name):
            continue
        shared = 0
        while (end := name.find(".", shared) + 1) and fit.place.startswith(name[:end]):
            shared = end
        groups[name[: shared + len(name[shared:].partition(".")[0])]].append(name)
    return [
        members[0] if len(members) == 1 else f"{group} ({len(members)} tensors)" for group, members in groups.items()
    ]


def _original_place(place: str, inside: Mapping[str, str]) -> str:
    """The prefix as the file has it, as far as all names at the place share it."""
    prefixes = {original[: len(original) - len(name)] for name, original in inside.items() if original.endswith(name)}
    return min(prefixes, key=len) if prefixes else place


def _compare(
    place: str,
    inside: Mapping[str, str],
    tensors: Mapping[str, StoredTensor],
    network: Mapping[str, tuple[str, tuple[int, ...]]],
    own_prefix: str,
) -> Fit:
    wanted = {name: pair for name, pair in network.items() if name.rpartition(".")[2] != _COUNTER}
    shared = [name for name in wanted if name in inside]
    same = [name for name in shared if tensors[inside[name]].shape == wanted[name][1]]
    others = [name for name in inside if name not in network and not tensors[inside[name]].spare]
    beside = [name for name in others if not _NO_WEIGHT.fullmatch(name)]
    unknown = _in_layers(beside, {name: tensors[inside[name]].shape for name in beside}, network)
    return Fit(
        place=place,
        names={wanted[name][0]: inside[name] for name in same},
        missing=tuple(name for name in wanted if name not in inside),
        shapes=tuple(
            f"{name} {tensors[inside[name]].shape}, expected {wanted[name][1]}" for name in shared if name not in same
        ),
        unknown=tuple(unknown),
        left_out=tuple(name for name in beside if name not in unknown),
        expected=len(wanted),
        own_prefix=own_prefix,
    )


def _in_layers(names: list[str], shapes: Shapes, network: Iterable[str]) -> list[str]:
    """Those of `names` that belong to the network's own layers, or to more of them: layer5 beside layer4.

    A linear layer of its own is none of them: it is the classifier of a training.
    """
    layers = {name.rpartition(".")[0] for name in network}
    tops = {_family(name) for name in network}
    modules: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        modules[name.rpartition(".")[0]].append(name)
    found = []
    for module, members in modules.items():
        separate = module and module not in layers and "." not in module and len(members) <= 2
        kernel = all(name.endswith(".kernel") for name in members)  # as heads of margin losses call it
        if not (separate or kernel) or max(len(shapes[name]) for name in members) != 2:
            found += [name for name in members if _family(name) in tops]
    return found


def _family(name: str) -> str:
    """The first part of a name, without its number."""
    return re.sub(r"\d+$", "", name.partition(".")[0])


def _as_it_is(name: str) -> str:
    return name


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _common_prefix(names: Iterable[str]) -> str:
    """The parts that all names begin with."""
    split = [name.split(".")[:-1] for name in names]
    prefix = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        prefix.append(f"{parts[0]}.")
    return "".join(prefix)
