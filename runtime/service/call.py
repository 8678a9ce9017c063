"""One request, as long as it is served."""

from __future__ import annotations

import dataclasses
import math
import time

from efq.runtime.service.batching import DeadlinePassedError


@dataclasses.dataclass(eq=False, kw_only=True)
class Call:
    """request_id: of the envelope, the log and the answer. since: when it came, of `time.monotonic`.

    deadline: likewise; counted from when its body has come whole. gone: nobody waits for its answer any more.
    """

    request_id: str
    since: float = dataclasses.field(default_factory=time.monotonic)
    deadline: float = math.inf
    gone: bool = False

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, 0 once it has passed, None where there is none."""
        return None if self.deadline == math.inf else max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raise DeadlinePassedError where its answer would come too late, or for nobody."""
        if self.gone or time.monotonic() >= self.deadline:
            raise DeadlinePassedError
