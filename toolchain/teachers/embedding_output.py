"""The embedding among what a network returns: a second output is left, a 1x1 image flattened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

Place = int | str | None
"""Position or key of the embedding in what a network returns; None where that is the tensor."""


class EmbeddingOutput(nn.Module):
    """Images to (N, d): what `network` returns at `place`, which may be (N, d, 1, 1)."""

    def __init__(self, network: nn.Module, place: Place) -> None:
        super().__init__()
        self.network, self.place = network, place

    def forward(self, images: Tensor) -> Tensor:
        found = self.network(images)
        result: Tensor = found if self.place is None else found[self.place]
        return result.flatten(1)


def find_embedding(found: object, count: int) -> tuple[Place, bool] | str:
    """Where an embedding for each of `count` images is: its place, and whether it is (N, d) as it stands.

    Of several outputs it is the first that is one. A text says what was found instead.
    """
    if isinstance(found, Tensor):
        return (None, found.dim() == 2) if _is_embedding(found, count) else f"found {tuple(found.shape)}"
    places: Iterable[tuple[object, object]] = ()
    if isinstance(found, Mapping):
        places = found.items()
    elif isinstance(found, tuple | list):
        places = enumerate(found)
    for place, value in places:
        if isinstance(place, int | str) and isinstance(value, Tensor) and _is_embedding(value, count):
            return place, False
    return f"found {type(found).__name__}"


def _is_embedding(value: Tensor, count: int) -> bool:
    return value.dim() in (2, 4) and value.shape[0] == count and value.shape[1] > 1 and value[0, 0].numel() == 1
