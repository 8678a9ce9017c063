"""What more threads bring: one network on few and on many threads, timed in turn."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.timing.latency import SETTLE_SECONDS, draw_batches, measure


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """Throughput of a network on `threads` threads over that on the least, `base_threads`.

    factor: median over rounds of the time on the least threads divided by that on more in the same round, quartiles its
    25th and 75th percentile.
    """

    network: str
    batch: int
    base_threads: int
    threads: int
    factor: float
    quartiles: tuple[float, float]
    rounds: int


def measure_scaling(
    network: str,
    open_on: Callable[[int], Peer],
    images: NDArray[np.uint8],
    *,
    batches: Sequence[int],
    threads: Sequence[int],
    rounds: int,
    seconds: float,
) -> list[Scaling]:
    """`network`, opened by `open_on` for each number of threads at once, at every batch size.

    Measured apart from the comparison of networks, where settings follow one another by minutes in which a machine's
    state changes. Images are drawn from `images`, uint8 (M, H, W, 3). A batch size takes `rounds` rounds or `seconds`
    seconds.
    """
    base = min(threads)
    found = []
    with contextlib.ExitStack() as stack:
        peers = {str(count): stack.enter_context(contextlib.closing(open_on(count))) for count in sorted(set(threads))}
        for batch in batches:
            latencies = measure(
                peers,
                draw_batches(images, batch),
                reference=str(base),
                rounds=rounds,
                warm_up=2,
                seconds=seconds,
                settle=SETTLE_SECONDS,
            )
            found += [
                Scaling(
                    network=network,
                    batch=batch,
                    base_threads=base,
                    threads=int(latency.network),
                    factor=latency.speedup,
                    quartiles=latency.speedup_quartiles,
                    rounds=latency.rounds,
                )
                for latency in latencies
                if latency.network != str(base)
            ]
    return found
