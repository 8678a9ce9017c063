"""What the routes of a service work with: a model behind a queue, a reader of pictures, enrolled people."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

from efq.runtime.artifact.folder import Artifact
from efq.runtime.detection.detector import Detector
from efq.runtime.detection.photo_faces import PhotoReader
from efq.runtime.embedder import Embedder
from efq.runtime.errors import EfqError, UsageError
from efq.runtime.gallery.models import model_of
from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.store import GalleryStore
from efq.runtime.gallery.stores.thresholds import FmrThresholds
from efq.runtime.machine.cpu import usable_cores
from efq.runtime.service.batching import (
    Batcher,
    BatchObserver,
    DeadlinePassedError,
    Embeddings,
    Faces,
    QueueFullError,
)
from efq.runtime.service.call import Call
from efq.runtime.service.errors import ApiError, api_error, busy
from efq.runtime.service.images import LEAST_FACE_SIDE, FaceReader
from efq.runtime.service.settings import ServiceSettings
from efq.runtime.targets import find_target

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

GALLERY_THREADS = 8


class FaceEngine:
    """Holds what was opened until `close`. Its coroutines may be awaited by any number of tasks of one event loop.

    They raise ApiError for what a request cannot have: 429, 503, 504 and what `api_error` makes of EFQ's errors.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        embedder: Embedder,
        *,
        gallery: GalleryStore | None = None,
        detector: Detector | None = None,
        observer: BatchObserver | None = None,
    ) -> None:
        limits = settings.limits
        workers = usable_cores() if settings.threads is None else settings.threads
        photos = None
        if detector is not None:
            photos = PhotoReader(detector=detector, contract=embedder.contract, min_side=LEAST_FACE_SIDE)
        self.settings, self.embedder, self.gallery, self.detector = settings, embedder, gallery, detector
        self.model = model_of(embedder.artifact)
        self.thresholds = FmrThresholds.of(embedder.artifact)
        self.read_face = FaceReader(contract=embedder.contract, pixels=limits.pixels, photos=photos)
        self.batcher = Batcher(
            embedder.embed, workers=workers, most=limits.batch, queue=limits.queue, observer=observer
        )
        self.draining = False
        self.image_pool = ThreadPoolExecutor(workers, "efq-images")
        self.gallery_pool = ThreadPoolExecutor(GALLERY_THREADS, "efq-gallery")

    @classmethod
    def open(cls, settings: ServiceSettings, observer: BatchObserver | None = None) -> Self:
        """Open the artifact, the gallery and the detector of the settings. Raises what each of them does when opened,
        and UsageError for an FMR that the artifact has no threshold for."""
        with contextlib.ExitStack() as refused:
            backend = settings.backend
            if backend is None:
                backend = find_target(Artifact.open(settings.directory).manifest.target).backends[0]
            embedder = Embedder.open(settings.directory, settings.device, 1, backend=backend, lean=True)
            refused.callback(embedder.close)
            gallery = None
            if settings.gallery is not None:
                gallery = open_gallery(settings.gallery, embedder.artifact, template=settings.template)
                refused.callback(gallery.close)
            detector = None
            if settings.detector is not None:
                detector = Detector.open(settings.detector, size=settings.detector_size, threads=1)
                refused.callback(detector.close)
            if settings.fmr is not None:
                FmrThresholds.of(embedder.artifact).at(settings.fmr)
            opened = cls(settings, embedder, gallery=gallery, detector=detector, observer=observer)
            refused.pop_all()
        return opened

    def close(self) -> None:
        """Finish what waits, and close what was opened."""
        self.image_pool.shutdown()
        self.batcher.close()
        self.gallery_pool.shutdown()
        if self.gallery is not None:
            self.gallery.close()
        if self.detector is not None:
            self.detector.close()
        self.embedder.close()

    async def embed(self, faces: Faces, call: Call) -> Embeddings:
        """Embeddings (N, d) of aligned faces uint8 (N, H, W, 3), computed with those of other requests."""
        return await _result(self._submit(faces, call), call)

    async def read_and_embed(
        self, call: Call, read: Callable[[], Result], faces_of: Callable[[Result], Faces]
    ) -> tuple[Result, Embeddings]:
        """Call `read` on the pool for pictures, and embed the faces of what it gives, (N, H, W, 3): both.

        As `on_images` and `embed` one after the other, without coming back to the event loop between them.
        """
        both: Future[tuple[Result, Embeddings]] = Future()

        def begin() -> None:
            if both.cancelled():
                return
            try:
                call.check()
                given = read()
                embedded = self._submit(faces_of(given), call)
            except BaseException as error:
                _settle(both, error)
                return
            embedded.add_done_callback(lambda done: _settle_with(both, given, done))
            both.add_done_callback(lambda done: embedded.cancel())

        self.image_pool.submit(begin)
        return await _result(both, call)

    def _submit(self, faces: Faces, call: Call) -> Future[Embeddings]:
        if len(faces) > self.batcher.longest:
            message = f"expected at most {self.batcher.longest} faces in a request, found {len(faces)}"
            raise ApiError(413, "too_many_images", message)
        try:
            return self.batcher.submit(faces, call.deadline)
        except QueueFullError as error:
            code = "queue_full"
            raise busy(code, "too many faces wait to be computed", error.seconds) from error

    async def on_images(
        self, call: Call, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call a function that decodes, on the pool for that."""
        return await self._on(self.image_pool, call, functools.partial(function, *args, **kwargs))

    async def on_gallery(
        self, call: Call, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call a function of the gallery, on the pool for that."""
        return await self._on(self.gallery_pool, call, functools.partial(function, *args, **kwargs))

    async def _on(self, pool: ThreadPoolExecutor, call: Call, function: Callable[[], Result]) -> Result:
        def begin() -> Result:
            call.check()
            return function()

        return await _result(pool.submit(begin), call)

    def store(self) -> GalleryStore:
        """The enrolled people. Raises ApiError where the service has none."""
        if self.gallery is None:
            raise ApiError(404, "no_gallery", "this service has no gallery: start efq-serve with --gallery")
        return self.gallery

    def threshold(self, fmr: float | None, threshold: float | None) -> tuple[float, float | None]:
        """What to decide at, and the FMR it is for where one was asked: of the request, or of the service.

        Raises ApiError where neither says, or both are given, and for an FMR without a certified threshold.
        """
        if fmr is None and threshold is None:
            fmr, threshold = self.settings.fmr, self.settings.threshold
        if (fmr is None) == (threshold is None):
            found = "neither" if fmr is None else "both"
            raise ApiError(422, "threshold_required", f"expected fmr or threshold, found {found}")
        if threshold is not None:
            return threshold, None
        assert fmr is not None
        try:
            return self.thresholds.at(fmr), fmr
        except UsageError as error:
            raise ApiError(422, "fmr_not_certified", str(error)) from error


async def _result(future: Future[Result], call: Call) -> Result:
    """What a future gives until the call's deadline; then, or where nobody waits any more, it is cancelled."""
    try:
        async with asyncio.timeout(call.remaining):
            return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        call.gone = True
        raise
    except (TimeoutError, DeadlinePassedError) as error:
        call.gone = True
        raise _too_late() from error
    except EfqError as error:
        raise api_error(error) from error


def _settle(future: Future[Result], outcome: Result | BaseException) -> None:
    with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _settle_with(both: Future[tuple[Result, Embeddings]], given: Result, embedded: Future[Embeddings]) -> None:
    if embedded.cancelled():
        both.cancel()
    else:
        _settle(both, embedded.exception() or (given, embedded.result()))


def _too_late() -> ApiError:
    return ApiError(504, "deadline_exceeded", "the service did not get to it before the request's deadline")
