"""Embeddings of any number of people, drawn part by part: the same for the same seed, whichever is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_PART = 1 << 14


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnPeople:
    """`count` faces of `size` values, `each` of a person, around whose direction they are, `spread` off.

    Strangers are as unlike as random directions are; two faces of one person have a cosine of about 1 / (1 + spread^2).
    """

    count: int
    size: int
    each: int = 3
    spread: float = 0.8
    seed: int = 0

    def parts(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The first face's number and (n, size) of unit length, of all."""
        for start in range(0, self.count, _PART):
            yield start, self._part(start)[: self.count - start]

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, size), of some ascending numbers."""
        found = [
            self._part(start)[numbers[numbers // _PART == start // _PART] - start]
            for start in np.unique(numbers // _PART * _PART).tolist()
        ]
        return np.concatenate(found)

    def person(self, number: int) -> str:
        """Who is on a face."""
        return f"person {number // self.each:08}"

    def probes(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(count, size) other faces of enrolled people, and the number of an enrolled face of each."""
        generator = np.random.default_rng((self.seed, 1))
        numbers = np.sort(generator.choice(self.count, count, replace=False))
        centres = self._centres(numbers // self.each)
        return self._faces(centres, generator), numbers

    def _part(self, start: int) -> NDArray[np.float32]:
        centres = self._centres(np.arange(start, start + _PART) // self.each)
        return self._faces(centres, np.random.default_rng((self.seed, 2, start)))

    def _centres(self, people: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, size) of people, drawn 4096 at a time."""
        result = np.empty((len(people), self.size), np.float32)
        for block in np.unique(people >> 12).tolist():
            drawn = np.random.default_rng((self.seed, 3, block)).standard_normal((1 << 12, self.size), np.float32)
            mine = people >> 12 == block
            result[mine] = drawn[people[mine] - (block << 12)]
        return _unit(result)

    def _faces(self, centres: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        noise = generator.standard_normal(centres.shape, np.float32)
        return _unit(centres + noise * np.float32(self.spread / self.size**0.5))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
