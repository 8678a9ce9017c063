"""Similarity thresholds at false-positive rates, exact, over all impostor pairs of a set of embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional

from efq.runtime.errors import InputError


def threshold_ranks(rates: Sequence[float], pairs: int) -> list[int]:
    """Places of the thresholds in the impostor similarities sorted in descending order.

    The value at place floor(rate * pairs) is the lowest threshold that at most `rate` of the pairs exceed.
    """
    return [min(int(rate * pairs + 1e-9), pairs - 1) for rate in rates]


@torch.no_grad()
def impostor_thresholds(
    embeddings: torch.Tensor, labels: torch.Tensor, rates: Sequence[float], *, block: int = 512
) -> torch.Tensor:
    """Cosine thresholds (len(rates),) float32 that at most the given shares of all impostor pairs exceed.

    `embeddings` (N, d), `labels` (N,) integer on the same device. Exact: similarities are computed in blocks of `block`
    rows and only the largest max(rates) of them are kept, so that 14,000 x 512 needs about 0.5 GB at a rate of 0.1.
    Raises InputError when there is no impostor pair.
    """
    counts = torch.bincount(torch.unique(labels, return_inverse=True)[1])
    pairs = int((len(labels) ** 2 - counts.square().sum().item()) // 2)
    if pairs == 0:
        message = f"expected images of at least two identities to set thresholds, found {len(counts)} identities"
        raise InputError(message)
    ranks = threshold_ranks(rates, pairs)
    kept = _largest(_impostor_similarities(embeddings, labels, block), max(ranks) + 1)
    return kept.sort(descending=True).values[torch.tensor(ranks, device=kept.device)]


def _impostor_similarities(embeddings: torch.Tensor, labels: torch.Tensor, block: int) -> Iterator[torch.Tensor]:
    """Similarities of every unordered pair of images of different identities, a block of rows at a time."""
    unit = functional.normalize(embeddings.float(), dim=1)
    for start in range(0, len(unit), block):
        rows = slice(start, start + block)
        similarities = unit[rows] @ unit[start:].T
        impostor = (labels[rows, None] != labels[None, start:]).triu_(1)
        yield similarities[impostor]


def _largest(parts: Iterator[torch.Tensor], count: int) -> torch.Tensor:
    """The `count` largest values of all parts, unordered; holds at most about twice as many."""
    kept: list[torch.Tensor] = []
    held = 0
    floor: torch.Tensor | None = None
    for part in parts:
        candidates = part if floor is None else part[part > floor]
        kept.append(candidates)
        held += len(candidates)
        if held >= 2 * count:
            largest = torch.cat(kept).topk(count, sorted=False).values
            kept, held, floor = [largest], count, largest.min()
    everything = torch.cat(kept)
    return everything.topk(min(count, len(everything)), sorted=False).values
