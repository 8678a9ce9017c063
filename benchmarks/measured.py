"""All networks of a benchmark, open at once: their latency in turn, and their embeddings of the faces."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.peers.tool import Candidate
from efq.benchmarks.timing.latency import SETTLE_SECONDS, LatencySetting, draw_batches, measure
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.evaluation import EvaluationFaces
from efq.toolchain.evaluation.embed import Embed, embed_faces

_LOG_SECONDS = 5.0

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What the open networks gave: latency by setting, file size and embeddings of all faces by network."""

    latency: tuple[LatencySetting, ...]
    file_bytes: Mapping[str, int]
    embeddings: Mapping[str, NDArray[np.float32]]


def measure_candidates(
    candidates: Sequence[Candidate],
    images: NDArray[np.uint8],
    faces: EvaluationFaces | None,
    *,
    batches: Sequence[int],
    threads: Sequence[int],
    rounds: int,
    seconds: float,
    progress: ShowProgress = no_progress,
) -> Measured:
    """Time every combination of `threads` and `batches`, and embed `faces` with the most threads.

    Images are drawn from `images`, uint8 (M, H, W, 3). Each combination takes `rounds` rounds or `seconds` seconds.
    `progress` shows the embedding: a live bar would take time from what is timed.
    """
    settings = []
    embeddings: dict[str, NDArray[np.float32]] = {}
    for count in threads:
        with _opened(candidates, count) as peers:
            file_bytes = {name: peer.file_bytes for name, peer in peers.items()}
            for batch in batches:
                latencies = measure(
                    peers,
                    draw_batches(images, batch),
                    reference=candidates[0].name,
                    rounds=rounds,
                    seconds=seconds,
                    settle=SETTLE_SECONDS if count > 1 else 0.0,
                    on_round=_log_rounds(f"timing batch {batch}, threads {count}", rounds),
                )
                settings.append(LatencySetting(threads=count, batch=batch, networks=tuple(latencies)))
            if faces is not None and count == max(threads):
                embeddings = {name: embed_all(name, peer.embed, faces, progress) for name, peer in peers.items()}
    return Measured(latency=tuple(settings), file_bytes=file_bytes, embeddings=embeddings)


@contextlib.contextmanager
def _opened(candidates: Sequence[Candidate], threads: int) -> Iterator[dict[str, Peer]]:
    """All networks by name, open at once."""
    with contextlib.ExitStack() as stack:
        peers = {}
        for candidate in candidates:
            peers[candidate.name] = candidate.open(threads)
            stack.callback(peers[candidate.name].close)
        yield peers


def _log_rounds(title: str, rounds: int) -> Callable[[], None]:
    """Logs the count of rounds every few seconds."""
    count, last = 0, time.monotonic()
    _logger.info("%s: up to %d rounds", title, rounds)

    def advance() -> None:
        nonlocal count, last
        count += 1
        if time.monotonic() - last >= _LOG_SECONDS:
            last = time.monotonic()
            _logger.info("%s: %d/%d rounds", title, count, rounds)

    return advance


def embed_all(
    name: str, embed: Embed, faces: EvaluationFaces, progress: ShowProgress = no_progress
) -> NDArray[np.float32]:
    """Embeddings of all faces, (M, d) of unit length, with progress."""
    return embed_faces(embed, faces.faces, title=f"embedding: {name}", progress=progress)
