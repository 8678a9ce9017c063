"""How a service is set up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.runtime.gallery.stores.store import Template
from efq.runtime.service.batching import DEFAULT_BATCH, DEFAULT_QUEUE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all at once, may take.

    body_bytes: of a request. body_seconds: until it has come whole. bodies_bytes: of all requests that are there at
    once. requests: of these. pixels: of an image. images: of a request. structure: brackets, commas and colons of a
    JSON body. deadline: seconds from a request's arrival, after which it is not computed. send_seconds: until a client
    has taken the answer.
    """

    body_bytes: int = 16_000_000
    body_seconds: float = 20.0
    bodies_bytes: int = 128_000_000
    requests: int = 512
    pixels: int = 25_000_000
    images: int = 64
    structure: int = 20_000
    deadline: float = 10.0
    send_seconds: float = 20.0
    queue: int = DEFAULT_QUEUE
    batch: int = DEFAULT_BATCH


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What `create_app` and efq-serve take.

    directory: the artifact. gallery: a place as `open_gallery` takes it, None for a service without enrolled people.
    detector: a file as `Detector.open` takes it. fmr or threshold: what is verified and searched at where a request
    says neither. api_keys: one of which every request needs; none is for a service that only this machine reaches.
    hosts: names in the Host header, lower case and without a port, that are answered where there is no key; empty for
    all. backend: None is the one that the artifact was exported for.
    """

    directory: Path
    gallery: str | None = None
    template: Template | None = None
    detector: Path | None = None
    detector_size: int | None = None
    fmr: float | None = None
    threshold: float | None = None
    api_keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    threads: int | None = None
    device: str | None = None
    backend: str | None = None
    access_log: bool = True
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.fmr is not None and self.threshold is not None:
            message = f"expected an FMR or a threshold, found both ({self.fmr} and {self.threshold})"
            raise UsageError(message)
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            message = f"expected a threshold of -1 to 1, found {self.threshold}"
            raise UsageError(message)
