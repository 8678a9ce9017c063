"""Whether a service can be sent requests: it computes with what was exported, and what it keeps can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

from efq.runtime.errors import EfqError
from efq.runtime.service.engine import FaceEngine

PROBE_SECONDS = 60.0
GALLERY_SECONDS = 5.0
CHECK_SECONDS = 5.0

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _Check:
    """Something that is found out on a thread, and believed for so many seconds."""

    name: str
    function: Callable[[], object]
    pool: Executor
    seconds: float
    holds: bool = False
    until: float = 0.0
    running: asyncio.Future[object] | None = None

    async def __call__(self) -> bool:
        if time.monotonic() < self.until:
            return self.holds
        if self.running is None or self.running.done():
            self.running = asyncio.get_running_loop().run_in_executor(self.pool, self.function)
        holds = False
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await asyncio.shield(self.running)
            holds = True
        except TimeoutError:
            pass
        except EfqError as error:
            with contextlib.suppress(Exception):
                _logger.warning("not ready: %s: %s", self.name, type(error).__name__)
        self.holds, self.until = holds, time.monotonic() + (self.seconds if holds else 1.0)
        return holds


class Readiness:
    """The checks of GET /v2/health/ready, by name."""

    def __init__(self, engine: FaceEngine) -> None:
        self._engine = engine
        self._checks = [_Check("probe", engine.embedder.check_probe, engine.image_pool, PROBE_SECONDS)]
        if engine.gallery is not None:
            self._checks.append(_Check("gallery", engine.gallery.check, engine.gallery_pool, GALLERY_SECONDS))

    async def __call__(self) -> dict[str, bool]:
        """What holds.

        artifact: its checksums were verified, as it would not be open otherwise. probe: its image has the embedding
        that it had at export, looked at again once a minute. coverage: which of its multiply-adds run in integers was
        audited when it was exported. gallery: it can be reached. accepting: the service is not about to end.
        """
        coverage = self._engine.embedder.manifest.coverage
        found = {"artifact": True, "coverage": "multiply_adds" in coverage}
        for check in self._checks:
            found[check.name] = await check()
        found["accepting"] = not self._engine.draining
        return found
