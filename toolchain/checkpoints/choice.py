"""Which weights are taken of a file that has those of a network in several places."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from efq.runtime.errors import CheckpointError, UsageError
from efq.toolchain.checkpoints.fit import Fit, described, shown
from efq.toolchain.checkpoints.soundness import Soundness, look_at
from efq.toolchain.checkpoints.weights_file import WeightsFile

# What training code calls the average of weights over steps (the teacher of a self-distillation is one, too).
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged?|shadow|polyak|teacher|target)\d*([._]|$)", re.IGNORECASE)
_OF_TRAINING = re.compile(r"(^|[._])(optim\w*|exp_avg\w*|momentum\w*|grad\w*|velocity)([._]|$)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The place that is taken, its tensors by the network's names, and what has to be said about it."""

    fit: Fit
    weights: Mapping[str, Tensor]
    notes: tuple[str, ...]


def choose(fits: Sequence[Fit], file: WeightsFile, *, wanted: str | None = None) -> Chosen:
    """The weights at the place `wanted` ("ema"), or else the averaged ones, or the only ones whose values are sound.

    Raises CheckpointError for weights that are all of one value, and for several that differ where nothing says which
    are meant; UsageError for a place that is not there.
    """
    places = [fit for fit in fits if not _OF_TRAINING.search(fit.place)] or list(fits)
    if wanted is not None:
        places = [_named(fits, file, wanted)]
    seen = [_Looked.at(fit, file) for fit in places]
    sound = [looked for looked in seen if looked.soundness.sound] or [
        looked for looked in seen if not looked.soundness.empty
    ]
    if not sound:
        first = seen[0]
        message = (
            f"expected the weights of a trained network {described(first.fit.place)}in {file.path}, found that "
            f"{first.soundness}: save the weights again, or take another checkpoint of the training"
        )
        raise CheckpointError(message)
    taken = _preferred(sound, file)
    notes = _notes(taken, seen, file)
    return Chosen(fit=taken.fit, weights=taken.weights, notes=notes)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Looked:
    fit: Fit
    weights: dict[str, Tensor]
    soundness: Soundness

    @classmethod
    def at(cls, fit: Fit, file: WeightsFile) -> _Looked:
        loaded = file.load(fit.names.values())
        weights = {name: loaded[original] for name, original in fit.names.items()}
        return cls(fit=fit, weights=weights, soundness=look_at(weights))

    def equals(self, other: _Looked) -> bool:
        return all(torch.equal(value, other.weights[name]) for name, value in self.weights.items())


def _named(fits: Sequence[Fit], file: WeightsFile, wanted: str) -> Fit:
    inside = f".{wanted.strip('.')}."
    exact = [fit for fit in fits if fit.place.rstrip(".") == wanted.strip(".")]
    found = exact or [fit for fit in fits if inside in f".{fit.place}"]
    if len(found) != 1:
        places = [fit.place.rstrip(".") for fit in (found or fits)]
        message = f"expected one place {wanted!r} with weights of the network in {file.path}, found {shown(places)}"
        raise UsageError(message)
    return found[0]


def _preferred(sound: Sequence[_Looked], file: WeightsFile) -> _Looked:
    averaged = [looked for looked in sound if _AVERAGED.search(looked.fit.place)]
    candidates = averaged or list(sound)
    if all(candidates[0].equals(other) for other in candidates[1:]):
        return candidates[0]
    places = [looked.fit.place.rstrip(".") for looked in candidates]
    message = (
        f"expected one set of the network's weights in {file.path}, found {len(places)} that differ: {shown(places)}; "
        f"choose one with --backbone @{places[0]}, or NAME@{places[0]} beside a network's name"
    )
    raise CheckpointError(message)


def _notes(taken: _Looked, seen: Sequence[_Looked], file: WeightsFile) -> tuple[str, ...]:
    notes = []
    others = [looked for looked in seen if looked is not taken]
    different = [looked for looked in others if not looked.equals(taken)]
    if different:
        others_said = ", ".join(
            f"@{looked.fit.place.rstrip('.')}" + ("" if looked.soundness.sound else f" ({looked.soundness})")
            for looked in different
        )
        place = taken.fit.place.rstrip(".")
        notes.append(f"took the weights {place!r}; others by the end of --backbone: {others_said}")
    if not taken.soundness.sound or taken.soundness.constant:
        notes.append(f"{taken.soundness}: is the network trained?")
    return tuple(notes)
