"""Which of the backends present serves an artifact on this CPU: measured once, then remembered for the machine.

A backend other than the target's own is chosen only when it is clearly faster here and its embeddings agree to a
stated tolerance (docs/decisions/0041-the-faster-backend-within-a-tolerance.md).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.model import Model
from efq.runtime.errors import DeviceError, IncompatibleArtifactError, InputError, UsageError
from efq.runtime.machine.cpu import describe_cpu
from efq.runtime.machine.versions import ONNXRUNTIME_PACKAGES, installed_versions
from efq.runtime.reading import parse_json, read_text

FORMAT = 2
WARM_UP = 3
ROUNDS = 30
SECONDS = 2.0
CHECK_IMAGES = 4

LEAST_GAIN = 0.9
"""Another backend has to take less than this share of the own one's time: it costs memory, start-up and other bytes."""

_LIMIT = 2**16  # bytes of a remembered choice

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What was measured, and the backend to take.

    least_cosine: between the embeddings of the backends, on a few random images. milliseconds: median time of one image
    by backend, of those whose embeddings agree; empty when there is nothing to choose.
    """

    backend: str
    milliseconds: Mapping[str, float]
    least_cosine: float

    def to_json(self) -> str:
        """Canonical JSON with a newline at the end."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, sort_keys=True, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, backends: Mapping[str, object]) -> Self | None:
        """Parse `to_json`'s text; None for anything else, or for a choice among other backends."""
        try:
            values: Any = parse_json(text, "a choice of a backend")
        except InputError:
            return None
        if not isinstance(values, dict) or set(values) != {
            "format",
            *(field.name for field in dataclasses.fields(cls)),
        }:
            return None
        backend, times, cosine = values["backend"], values["milliseconds"], values["least_cosine"]
        fits = (
            type(values["format"]) is int
            and values["format"] == FORMAT
            and isinstance(backend, str)
            and isinstance(times, dict)
            and {backend, *times} <= set(backends)
            and all(type(number) is float and math.isfinite(number) for number in (cosine, *times.values()))
        )
        return cls(backend=backend, milliseconds=times, least_cosine=cosine) if fits else None


def choose(
    models: Mapping[str, Model],
    *,
    own: str,
    contract: InputContract,
    tolerance: float,
    embed: Callable[[Model, NDArray[np.uint8]], NDArray[np.float32]] = lambda model, images: model.run(images),
) -> Choice:
    """Compare the embeddings of the loaded `models`, and time those that agree in turn on one image.

    `own` is the backend of the artifact's target; another one is chosen when it takes less than `LEAST_GAIN` of its
    time and no embedding's cosine to the own one's is below 1 - `tolerance`. `embed` runs a model and checks what it
    gives: an error of the own backend is raised, another one that fails is not chosen.
    """
    images = random_images(contract)
    embeddings = {}
    for name, model in models.items():
        try:
            embeddings[name] = embed(model, images)
        except (DeviceError, IncompatibleArtifactError) as error:
            if name == own:
                raise
            _logger.debug("%s is not chosen: %s", name, error)
    cosines = {name: float((found * embeddings[own]).sum(1).min()) for name, found in embeddings.items()}
    equal = {name: models[name] for name in embeddings if name == own or cosines[name] >= 1 - tolerance}
    milliseconds = _time_in_turn(equal, images[:1]) if len(equal) > 1 else {}
    faster = {name: time for name, time in milliseconds.items() if time < LEAST_GAIN * milliseconds[own]}
    return Choice(
        backend=min(faster, key=lambda name: faster[name], default=own),
        milliseconds=milliseconds,
        least_cosine=min(cosines.values()),
    )


def random_images(contract: InputContract) -> NDArray[np.uint8]:
    """A few images of smooth random blocks, uint8 (4, H, W, 3), always the same."""
    shape = (CHECK_IMAGES, -(-contract.height // 8), -(-contract.width // 8), 3)
    blocks = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.ascontiguousarray(blocks.repeat(8, 1).repeat(8, 2)[:, : contract.height, : contract.width])


def cache_path(model_sha256: str, *, backends: tuple[str, ...], threads: int, tolerance: float) -> Path | None:
    """The file that remembers the choice for a model, on this CPU, with these versions, threads and tolerance.

    None where there is no folder for it.
    """
    from efq.runtime.files import cache_folder  # a service that names its backend starts without it

    packages = dict.fromkeys(("efq", *ONNXRUNTIME_PACKAGES, *backends))
    facts = {
        "format": FORMAT,
        "model": model_sha256,
        "versions": installed_versions(packages),
        "processor": dataclasses.asdict(describe_cpu()),
        "threads": threads,
        "tolerance": tolerance,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    try:
        return cache_folder() / "cpu-backend" / f"{digest}.json"
    except UsageError as error:
        _logger.warning("the choice of a backend is not remembered: %s", error)
        return None


def read_choice(path: Path | None, backends: Mapping[str, object]) -> Choice | None:
    """The remembered choice, or None where there is none that can be used."""
    if path is None:
        return None
    try:
        text = read_text(path, expected="a choice of a backend", limit=_LIMIT)
    except InputError as error:
        _logger.debug("%s", error)
        return None
    choice = Choice.from_json(text, backends)
    if choice is None:
        _logger.warning("%s holds no choice of a backend: it is measured again", path)
    return choice


def write_choice(path: Path | None, choice: Choice) -> None:
    """Remember the choice; a folder that cannot be written only costs the next start a measurement."""
    if path is None:
        return
    from efq.runtime.files import atomic_write_text  # as above

    try:
        atomic_write_text(path, choice.to_json())
    except UsageError as error:
        reason = error.__cause__ or error  # its advice is for outputs
        _logger.warning("the choice of a backend is not remembered: %s; set EFQ_CACHE to a folder with room", reason)


def is_installed(backend: str) -> bool:
    """Whether the backend's package can be imported; the package is not loaded."""
    return importlib.util.find_spec(backend) is not None


def _time_in_turn(models: Mapping[str, Model], images: NDArray[np.uint8]) -> dict[str, float]:
    import statistics  # a service whose choice is remembered starts without it

    times: dict[str, list[float]] = {name: [] for name in models}
    end = time.perf_counter() + SECONDS
    for number in range(WARM_UP + ROUNDS):
        for name, model in models.items():
            start = time.perf_counter()
            model.run(images)
            times[name].append(time.perf_counter() - start)
        if number > WARM_UP and time.perf_counter() > end:
            break
    return {name: round(statistics.median(values[WARM_UP:]) * 1e3, 4) for name, values in times.items()}
