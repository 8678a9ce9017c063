"""What every store of enrolled people does; a kind of database fills in the rest.

One store may be used by any number of threads at once. An enrolment or a removal is durable when the call returns, and
there as a whole or not at all.
"""

from __future__ import annotations

import abc
import dataclasses
import typing
import uuid
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import instance_of, number, text, whole_number
from efq.runtime.errors import InputError, UsageError
from efq.runtime.gallery.gallery import LONGEST_NAME, Gallery, check_names, rows_of, unit_rows
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.gallery.stores.thresholds import FmrThresholds

Template = Literal["best", "mean", "all"]
"""What a probe is compared with, of a person of several faces.

best: each of them, of which the most similar one counts. mean: the mean of their embeddings, made of unit length.
all: each of them for itself, so that a person is found once a face.
"""

TEMPLATES: tuple[Template, ...] = typing.get_args(Template)
MOST_FACES_AT_ONCE = 10_000
MOST_MATCHES = 1_000
MOST_LISTED = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """An enrolled person: how many faces, and when the first was enrolled (ISO 8601, UTC, to the second)."""

    name: str
    faces: int
    enrolled: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """Who was found. similarity: the cosine, computed in float64 of the stored float32 values.

    face: which of the person's faces is this similar; None where the template is the mean of them.
    """

    person: str
    face: str | None
    similarity: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether a probe is who it is said to be: `accepted` where `similarity` is above `threshold`, both cosines.

    With the template "all" the most similar face counts, as with "best".
    """

    similarity: float
    threshold: float
    accepted: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreSize:
    """How much is enrolled."""

    people: int
    faces: int


class GalleryStore(abc.ABC):
    """Enrolled people by the embeddings of one model. Opened by `open_gallery`.

    Embeddings are float16, float32 or float64 of unit length, (N, d) with d the model's; probes likewise, (P, d).
    Raises, besides what each call says: InputError for arrays and names that are not so, UsageError once closed and for
    other arguments of another type or range, GalleryError where the database fails.
    """

    kind: str
    """What keeps it: "sqlite", "postgresql", "qdrant"."""

    opened_for: EmbeddingModel
    """Whose embeddings are given to it; set by `open_gallery`. Others than the gallery's own may search only."""

    def __init__(self, record: GalleryRecord, template: Template, thresholds: FmrThresholds) -> None:
        self._record = record
        self._template = template
        self._thresholds = thresholds
        self.opened_for = record.model

    @property
    def record(self) -> GalleryRecord:
        """The model that the embeddings are of, and which other probes may search them."""
        return self._record

    @property
    def template(self) -> Template:
        """What a probe is compared with, chosen when the gallery was made: thresholds are for one of them."""
        return self._template

    @property
    def thresholds(self) -> FmrThresholds:
        """Those of the artifact that it was opened for."""
        return self._thresholds

    def enroll(
        self,
        person: str,
        embeddings: NDArray[np.floating],
        *,
        faces: Sequence[str] | None = None,
        hashes: Sequence[str] | None = None,
    ) -> tuple[str, ...]:
        """Add faces, (N, d), to a person, who is made where there is none of that name: their identifiers.

        faces: each once in the whole gallery; made here (32 hexadecimal digits at random) unless given. hashes: the
        SHA-256 of each crop's file, where it is known. All N are enrolled, or none.

        Raises InputError for a face that is enrolled already, IncompatibleArtifactError where it was opened for another
        model than the gallery's.
        """
        self._record.check_same(self.opened_for)
        embeddings = rows_of(embeddings)
        count = len(embeddings) if embeddings.ndim else 0
        if count > MOST_FACES_AT_ONCE:
            message = f"expected at most {MOST_FACES_AT_ONCE:,} faces at once, found {count:,}; split them"
            raise UsageError(message)
        check_name(person, "person")
        names = [new_face() for _ in range(count)] if faces is None else faces
        added = Gallery.of(embeddings, [person] * count, names, self._record, hashes=hashes)
        self._enroll([added])
        return tuple(added.faces.tolist())

    def add(self, gallery: Gallery) -> int:
        """Enroll all people of an exported gallery, or none of them: the number of faces.

        Raises IncompatibleArtifactError for embeddings of another model, InputError for faces enrolled already.
        """
        instance_of(gallery, Gallery, "a Gallery, as read_gallery and export give it")
        self._record.check_same(gallery.record.model)
        self._enroll([gallery])
        return len(gallery)

    def remove(self, person: str, face: str | None = None) -> int:
        """Erase a person with all faces, or one face of theirs: the number of faces erased, 0 where there was none.

        The embeddings are gone when the call returns: from memory, from indexes and from free pages of files, as far
        as the kind of database allows (docs/gallery.md says how far). A person without a face left is no person.
        """
        check_name(person, "person")
        if face is not None:
            check_name(face, "face")
        return self._remove(person, face)

    def verify(
        self, person: str, probe: NDArray[np.floating], *, threshold: float | None = None, fmr: float | None = None
    ) -> Verification | None:
        """Compare one probe, (d,), with a person, at a threshold or an FMR; None for somebody who is not enrolled.

        Raises UsageError unless one of both is given, and as `FmrThresholds.at`.
        """
        check_name(person, "person")
        least = self._threshold(threshold, fmr)
        if least is None:
            message = "expected a threshold, or an FMR, to verify at, found neither"
            raise UsageError(message)
        probes = self._probes(rows_of(probe)[None])
        templates = self._templates_of(person)
        if templates is None:
            return None
        similarity = float((templates * probes[0].astype(np.float64)).sum(axis=1).max())
        return Verification(similarity=similarity, threshold=least, accepted=similarity > least)

    def search(
        self,
        probes: NDArray[np.floating],
        k: int = 1,
        *,
        threshold: float | None = None,
        fmr: float | None = None,
    ) -> list[tuple[Match, ...]]:
        """The k best matches of each probe, best first; of equal ones by name. Those above the threshold only, if any.

        fmr: of one comparison. Among many people the chance of a false match grows with their number: the certificate
        has FPIR, the rate of a whole search.

        Raises UsageError for a k that is not 1 to `MOST_MATCHES`, both of threshold and FMR, and as `FmrThresholds.at`.
        """
        k = whole_number(k, f"to search for 1 to {MOST_MATCHES} matches", least=1, most=MOST_MATCHES)
        least = self._threshold(threshold, fmr)
        found = self._search(self._probes(probes), k)
        if least is None:
            return found
        return [tuple(match for match in matches if match.similarity > least) for matches in found]

    @abc.abstractmethod
    def size(self) -> StoreSize:
        """How many people and faces are enrolled now."""

    def faces_of(self, person: str) -> tuple[str, ...]:
        """The faces of a person in the order of their names; empty for somebody who is not enrolled."""
        return self._faces_of(check_name(person, "person"))

    def people(self, *, after: str = "", limit: int = 100) -> list[Person]:
        """At most `limit` people whose names come after that one, in the order of code points of their names."""
        limit = whole_number(limit, f"to list 1 to {MOST_LISTED:,} people at once", least=1, most=MOST_LISTED)
        if text(after, "a name to list people after"):
            check_name(after, "person")
        return self._people(after, limit)

    @abc.abstractmethod
    def export(self) -> Iterator[Gallery]:
        """All that is enrolled when it is called, in parts of bounded size, in the order of people and faces.

        What is removed before its part is taken is left out.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Whether it can be reached and is whole, as far as that can be told in a second. Raises GalleryError."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what it holds; later calls raise UsageError. Closing again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abc.abstractmethod
    def _enroll(self, parts: Sequence[Gallery]) -> None:
        """Keep all of it, or raise."""

    @abc.abstractmethod
    def _remove(self, person: str, face: str | None) -> int: ...

    @abc.abstractmethod
    def _faces_of(self, person: str) -> tuple[str, ...]: ...

    @abc.abstractmethod
    def _templates_of(self, person: str) -> NDArray[np.float32] | None:
        """What a probe is compared with, (T, d); None for somebody who is not enrolled."""

    @abc.abstractmethod
    def _search(self, probes: NDArray[np.float32], k: int) -> list[tuple[Match, ...]]: ...

    @abc.abstractmethod
    def _people(self, after: str, limit: int) -> list[Person]: ...

    def _probes(self, probes: NDArray[np.floating]) -> NDArray[np.float32]:
        rows = unit_rows(probes, normalize=False)
        size = self._record.model.embedding_size
        if rows.shape[1] != size:
            message = f"expected probes of {size} values, as {self._record.model.name} has them, found {rows.shape[1]}"
            raise InputError(message)
        return rows

    def _threshold(self, threshold: float | None, fmr: float | None) -> float | None:
        if threshold is not None and fmr is not None:
            message = f"expected a threshold or an FMR, found both ({threshold} and {fmr})"
            raise UsageError(message)
        if fmr is not None:
            return self._thresholds.at(fmr)
        if threshold is not None:
            return number(threshold, "a threshold of -1 to 1", least=-1, most=1)
        return None


def check_name(name: str, what: str) -> str:
    """A person's or a face's name, 1 to `LONGEST_NAME` characters on one line. Raises InputError for another."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        message = f"expected a name of 1 to {LONGEST_NAME} characters as {what}"
        raise InputError(message)
    check_names([name], what, 1)
    return name


def new_face() -> str:
    """An identifier for a face, of 128 bits at random (RFC 9562, version 4): 32 hexadecimal digits."""
    return uuid.uuid4().hex
