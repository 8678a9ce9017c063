"""What `efq.benchmarks.timing.footprint` measures: opens one network, embeds one image, prints what that took."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from efq.benchmarks.peers.registry import find_opener
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import RunsElsewhere
from efq.runtime.cleanup import end_with_parent

_STATUS = Path("/proc/self/status")
_FACE = (1, 112, 112, 3)


def main(spec: PeerSpec) -> None:
    """Print one JSON object: start_up_ms, peak_mib."""
    end_with_parent()
    face = np.random.default_rng(0).integers(0, 256, _FACE, np.uint8)
    start = time.perf_counter()
    opener = find_opener(spec.kind)
    if isinstance(opener, RunsElsewhere):
        opener.run_here(spec, face)
    else:
        peer = opener.open(spec, 1)
        peer.run(peer.prepare(face))
    seconds = time.perf_counter() - start
    print(json.dumps({"start_up_ms": seconds * 1e3, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    if _STATUS.is_file():  # a child's ru_maxrss begins with its parent's
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main(PeerSpec.from_json(sys.argv[1]))
