"""The templates of IJB-B or IJB-C by one network or several, in one pass over the images."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data.faces import PREFIX_DIGITS
from efq.toolchain.data.near_duplicates import near_any, near_hashes, unpack_hashes
from efq.toolchain.evaluation.protocols.ijb.benchmark import IjbBenchmark
from efq.toolchain.evaluation.protocols.ijb.crops import Crop, Cropper
from efq.toolchain.evaluation.protocols.ijb.mode import IjbMode
from efq.toolchain.evaluation.protocols.ijb.network import Network
from efq.toolchain.evaluation.protocols.ijb.pooling import TemplatePool
from efq.toolchain.evaluation.protocols.unseen import MOST_NEAR
from efq.toolchain.evaluation.protocols.validity import check_embeddings

_BATCH = 64
_MOST_FAILED = 0.1  # of the templates: more say that images are missing, not that a few are poor
_NAMED = 5

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedTemplates:
    """T templates by each of M networks.

    features: M of (T, d) float32, rows of length 1, and of zeros for a template that is not enrolled. enrolled: (T,)
    bool, whether an image of it could be used and has weight. failed: the images that could not be used, with the
    reason. trained_on: M counts, of the images each network was fine-tuned on.
    """

    features: tuple[NDArray[np.float32], ...]
    enrolled: NDArray[np.bool_]
    failed: dict[str, str]
    trained_on: tuple[int, ...]


def embed_templates(
    networks: Sequence[Network],
    benchmark: IjbBenchmark,
    mode: IjbMode,
    *,
    allow_training_images: bool = False,
    progress: ShowProgress = no_progress,
) -> EmbeddedTemplates:
    """Embed all images of `benchmark`, 64 at a time, with `networks`, which take the same images.

    An image that cannot be read or cut is left out of its template, counted and named. Raises InputError where more
    than a tenth of the templates have no image, before anything is embedded where the files are not there, and for
    embeddings that are not finite or all the same; UsageError for a contract of faces that are cut by no landmarks, and
    for an image a network was fine-tuned on, or more than a hundredth in other pixels, unless `allow_training_images`.
    """
    crop = Cropper(benchmark.files.crops, networks[0].contract)
    _check_there(benchmark)
    pools = [TemplatePool(len(benchmark.template_ids)) for _ in networks]
    seen = [_TrainedOn.of(network) for network in networks]
    failed: dict[str, str] = {}
    names = " and ".join(dict.fromkeys(network.name for network in networks))
    with progress(f"embedding {benchmark.files.name} with {names}", len(benchmark), "images") as bar:
        for start in range(0, len(benchmark), _BATCH):
            rows = range(start, min(start + _BATCH, len(benchmark)))
            crops = _read(benchmark, rows, crop, failed)
            for at, network in enumerate(networks):
                seen[at].look(benchmark, crops, allowed=allow_training_images)
                if crops:
                    _add(pools[at], network, benchmark, mode, crops)
            bar.advance(len(rows), failed=len(failed))
    _warn_of_failed(benchmark, failed)
    features, enrolled_by = zip(*(pool.features() for pool in pools), strict=True)
    enrolled = np.logical_and.reduce(enrolled_by)
    _check_enrolled(benchmark, enrolled, next(iter(failed.values()), "detector scores of 0"))
    for network, rows_of in zip(networks, features, strict=True):
        check_embeddings(network.name, rows_of[enrolled])
    return EmbeddedTemplates(
        features=features, enrolled=enrolled, failed=failed, trained_on=tuple(one.count for one in seen)
    )


def _check_there(benchmark: IjbBenchmark) -> None:
    """Look for the files before hours of work."""
    folder = benchmark.files.crops
    there = np.array([os.path.isfile(folder / name) for name in benchmark.names])  # noqa: PTH113 (a Path may raise)
    enrolled = np.zeros(len(benchmark.template_ids), np.bool_)
    enrolled[benchmark.templates[there]] = True
    first = benchmark.names[int(np.argmin(there))]
    _check_enrolled(benchmark, enrolled, f"{int((~there).sum())} files are not there, first {first}")


def _check_enrolled(benchmark: IjbBenchmark, enrolled: NDArray[np.bool_], reason: str) -> None:
    lost = benchmark.template_ids[~enrolled]
    if len(lost) > _MOST_FAILED * len(enrolled):
        message = (
            f"expected the images of {benchmark.files.name} in {benchmark.files.crops}, found none of use for "
            f"{len(lost)} of {len(enrolled)} templates, first {', '.join(map(str, lost[:_NAMED]))} ({reason}); "
            "complete the folder"
        )
        raise InputError(message)


def _read(benchmark: IjbBenchmark, rows: range, crop: Cropper, failed: dict[str, str]) -> dict[int, Crop]:
    """The crops by row; what cannot be used goes to `failed`."""
    crops = {}
    for row in rows:
        try:
            crops[row] = crop(benchmark.names[row], benchmark.points[row])
        except InputError as error:
            failed[benchmark.names[row]] = str(error)
    return crops


def _add(pool: TemplatePool, network: Network, benchmark: IjbBenchmark, mode: IjbMode, crops: dict[int, Crop]) -> None:
    rows = np.array(list(crops))
    faces = np.stack([crop.face for crop in crops.values()])
    plain = network.embed(faces)
    mirrored = network.embed(np.ascontiguousarray(faces[:, :, ::-1])) if mode.flip else None
    features = mode.features(plain, mirrored, benchmark.scores[rows])
    if not np.isfinite(features).all():
        message = (
            f"expected finite embeddings from {network.name}, found others, of {benchmark.names[rows[0]]} or after"
        )
        raise InputError(message)
    pool.add(features, benchmark.templates[rows], benchmark.medias[rows])


@dataclasses.dataclass
class _TrainedOn:
    """How many images a network was fine-tuned on: `count` in all, `near` of them in other pixels."""

    network: Network
    stored: NDArray[np.uint8] | None
    count: int = 0
    near: int = 0

    @classmethod
    def of(cls, network: Network) -> _TrainedOn:
        packed = network.training_near_hashes
        return cls(network, unpack_hashes(packed) if packed else None)

    def look(self, benchmark: IjbBenchmark, crops: dict[int, Crop], *, allowed: bool) -> None:
        """Raises UsageError as `embed_templates` does."""
        same = np.array([self._is_same(crop) for crop in crops.values()], np.bool_)
        near = np.zeros_like(same)
        if self.stored is not None and len(crops):
            near = near_any(near_hashes(np.stack([crop.face for crop in crops.values()])), self.stored) & ~same
        self.count += int((same | near).sum())
        self.near += int(near.sum())
        if allowed or not (same.any() or self.near > MOST_NEAR * len(benchmark)):
            return
        first = benchmark.names[list(crops)[int(np.argmax(same | near))]]
        message = (
            f"expected images that {self.network.path} was not fine-tuned on, found {first} of {benchmark.files.name} "
            "among its training images; give --allow-training-images for figures that are not a clean test"
        )
        raise UsageError(message)

    def _is_same(self, crop: Crop) -> bool:
        pixels = self.network.training_pixel_hashes or frozenset()
        files = self.network.training_hashes
        return crop.file_hash[:PREFIX_DIGITS] in files or crop.pixel_hash[:PREFIX_DIGITS] in pixels


def _warn_of_failed(benchmark: IjbBenchmark, failed: dict[str, str]) -> None:
    if failed:
        reasons = "; ".join(list(failed.values())[:_NAMED])
        more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        _logger.warning("%d images of %s cannot be used: %s%s", len(failed), benchmark.files.name, reasons, more)
