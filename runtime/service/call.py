"""One request, as long as it is served."""

from __future__ import annotations

import dataclasses
import time

from efq.runtime.service.batching import DeadlinePassedError


@dataclasses.dataclass(eq=False, kw_only=True)
class Call:
    """request_id: of the envelope, the log and the answer. since, deadline: of `time.monotonic`.
    gone: nobody waits for its answer any more.
    """

    request_id: str
    since: float
    deadline: float
    gone: bool = False

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, 0 once it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raise DeadlinePassedError where its answer would come too late, or for nobody."""
        if self.gone or time.monotonic() >= self.deadline:
            raise DeadlinePassedError
