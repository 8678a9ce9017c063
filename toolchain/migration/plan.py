"""What a migration would do, which ways there are and why not, before anything is written."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from efq.runtime.errors import EfqError, IncompatibleArtifactError, InputError, UsageError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import EmbeddingModel
from efq.toolchain.evaluation.figures.rates import far_name
from efq.toolchain.migration.compatible import certified, check_loss
from efq.toolchain.migration.crops import Crops
from efq.toolchain.migration.map_certificate import MapCertificate, check_map
from efq.toolchain.migration.mapping import cosines
from efq.toolchain.migration.models import OpenModel

COMPATIBLE, REEMBED, DUAL, MAP = "compatible", "re-embed", "dual", "map"
WAYS = (COMPATIBLE, REEMBED, DUAL, MAP)

SAMPLE = 32
"""Crops that are embedded to measure how long all of them take, and to compare them with the gallery."""

_LEAST_COSINE = 0.95  # of an enrolled embedding to that of its crop by the same model: other runtimes round otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """One of `WAYS`: whether it is possible, why not (empty where it is), what is lost with it meanwhile, in words, and
    how long it takes, in seconds, None where that was not measured.
    """

    name: str
    possible: bool
    why_not: str
    lost: str
    seconds: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A migration of `faces` faces of `people` people from the model `old` to `new`.

    crops: how many of the faces have a crop; None where no folder of crops was named. milliseconds: to embed one, as
    measured. ways: all of `WAYS`. map: the certificate of the best map, None where none was fitted.
    """

    faces: int
    people: int
    old: EmbeddingModel
    new: EmbeddingModel
    crops: int | None
    people_without_crops: int
    milliseconds: float | None
    ways: tuple[Way, ...]
    map: MapCertificate | None

    def way(self, name: str) -> Way:
        """One of them."""
        return self.ways[WAYS.index(name)]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self) | {"map": None if self.map is None else self.map.to_dict()}

    def lines(self) -> Iterator[str]:
        """In words, for a terminal."""
        yield f"{self.faces:,} faces of {self.people:,} people, from {self.old} to {self.new}"
        if self.crops is not None:
            lost = f"; {self.people_without_crops:,} people have none" if self.people_without_crops else ""
            speed = "" if self.milliseconds is None else f", {self.milliseconds:.1f} ms each here"
            yield f"crops of {self.crops:,} faces{speed}{lost}"
        for way in self.ways:
            if way.possible:
                takes = "" if way.seconds is None else f" takes {_duration(way.seconds)};"
                yield f"{way.name}: possible;{takes} {way.lost}"
            else:
                yield f"{way.name}: not possible: {way.why_not}"


def make_plan(
    gallery: Gallery,
    new: OpenModel,
    *,
    crops: Crops | None,
    map_certificate: MapCertificate | None,
    max_loss: float,
    allow_missing: bool,
) -> Plan:
    """Look at what there is; `crops` is measured on `SAMPLE` of them. `max_loss` in points of a hundred.

    Raises UsageError for a gallery that is of the new model already, InputError for crops that are unreadable.
    """
    origin = gallery.record.origin
    if gallery.record.model.same_as(new.model) and (origin is None or origin.kind != MAP):
        message = f"expected a gallery of another model than the new one, found it is of {new.model} already"
        raise UsageError(message)
    there = None if crops is None else ~crops.missing(gallery)
    count = 0 if there is None else int(there.sum())
    milliseconds = None
    if crops is not None and there is not None and count:
        milliseconds = measure(gallery.take(there), crops, new)
    seconds = None if milliseconds is None else count * milliseconds / 1000
    ways = (
        _compatible(gallery, new, max_loss),
        _reembed(gallery, there, seconds, allow_missing=allow_missing),
        _dual(gallery, there, seconds, allow_missing=allow_missing),
        _map(gallery, map_certificate, max_loss),
    )
    without = 0 if there is None else len(set(gallery.people[~there]) - set(gallery.people[there]))
    return Plan(
        faces=len(gallery),
        people=gallery.person_count,
        old=gallery.record.model,
        new=new.model,
        crops=None if there is None else count,
        people_without_crops=without,
        milliseconds=milliseconds,
        ways=ways,
        map=map_certificate,
    )


def measure(gallery: Gallery, crops: Crops, new: OpenModel) -> float:
    """Milliseconds to read and embed a crop, by `SAMPLE` of them after the first few. Raises as `Crops.read`."""
    rows = np.linspace(0, len(gallery) - 1, min(SAMPLE, len(gallery))).astype(np.int64)
    new.embed(crops.read(gallery, rows[:4])[0])
    start = time.perf_counter()
    new.embed(crops.read(gallery, rows)[0])
    return 1000 * (time.perf_counter() - start) / len(rows)


def check_old_model(gallery: Gallery, crops: Crops, old: OpenModel) -> float:
    """Embed some crops with the old model: the median cosine to what is enrolled.

    Raises InputError where it is below 0.95: the crops, or the model, are not those of the enrolment.
    """
    rows = np.flatnonzero(~crops.missing(gallery))
    rows = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)]
    of_old = Crops(root=crops.root, contract=old.contract)
    found = old.embed(of_old.read(gallery, rows)[0])
    if found.shape[1] != gallery.embeddings.shape[1]:
        message = f"expected an old model of {gallery.embeddings.shape[1]} values, found {old.model}"
        raise IncompatibleArtifactError(message)
    median = float(np.median(cosines(found, gallery.embeddings[rows])))
    if median < _LEAST_COSINE:
        message = (
            f"expected {old.model} to make of the crops what is enrolled, found a median cosine of {median:.3f} on "
            f"{len(rows)}: the crops, their alignment or the model are not those of the enrolment"
        )
        raise InputError(message)
    return median


def _compatible(gallery: Gallery, new: OpenModel, max_loss: float) -> Way:
    lost = ""

    def check() -> None:
        nonlocal lost
        found = certified(gallery.record.model, new)
        at_rank_1 = "" if found.rank1_loss is None else f" and {found.rank1_loss:.2f} at rank 1"
        lost = (
            f"{found.loss:.2f} points of genuine matches at FMR {far_name(found.fmr)}{at_rank_1} are lost, by its "
            "certificate, until people are enrolled again"
        )
        check_loss(found, max_loss)

    return _way(COMPATIBLE, check, lambda: lost, 0.0)


def _reembed(gallery: Gallery, there: Any, seconds: float | None, *, allow_missing: bool) -> Way:
    def check() -> None:
        _require_crops(gallery, there)
        if not allow_missing:
            _require_all(there, "leaves them out")

    return _way(
        REEMBED,
        check,
        lambda: "nothing is lost: the old model searches its own gallery until the new one is whole",
        seconds,
    )


def _dual(gallery: Gallery, there: Any, seconds: float | None, *, allow_missing: bool) -> Way:
    def check() -> None:
        _require_crops(gallery, there)
        if not allow_missing:
            _require_all(there, "leaves them to the old model")

    return _way(
        DUAL,
        check,
        lambda: "nothing is lost by threshold: probes are embedded by both models, which costs the old one's time",
        seconds,
    )


def _map(gallery: Gallery, certificate: MapCertificate | None, max_loss: float) -> Way:
    lost = ""

    def check() -> None:
        nonlocal lost
        if certificate is None:
            message = "a map is fitted on faces of other people, by both models: name --faces and --old-model"
            raise UsageError(message)
        rates = certificate.certified
        lost = (
            f"{certificate.loss:.2f} points by cross-validation ({certificate.kind}: FNMR {100 * rates.mapped:.2f} % "
            f"beside {100 * rates.new:.2f} % at FMR {far_name(rates.rate)}), until people are enrolled again"
        )
        check_map(certificate, max_loss)

    return _way(MAP, check, lambda: lost, 0.0)


def _require_crops(gallery: Gallery, there: Any) -> None:
    if there is None:
        message = "the crops are needed: name their folder with --crops"
        raise UsageError(message)
    if not there.any():
        message = (
            f"no crop of the gallery's faces is there, first {str(gallery.faces[0])!r}: name the folder they are in"
        )
        raise InputError(message)


def _require_all(there: Any, otherwise: str) -> None:
    missing = int((~there).sum())
    if missing:
        message = f"{missing:,} of {len(there):,} faces have no crop; --allow-missing {otherwise}"
        raise InputError(message)


def _way(name: str, check: Callable[[], None], lost: Callable[[], str], seconds: float | None) -> Way:
    try:
        check()
    except EfqError as error:
        return Way(name=name, possible=False, why_not=str(error), lost=lost(), seconds=None)
    return Way(name=name, possible=True, why_not="", lost=lost(), seconds=seconds)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
