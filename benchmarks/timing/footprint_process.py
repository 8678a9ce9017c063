"""What `efq.benchmarks.timing.footprint` measures: opens one network, embeds one image, prints what that took."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.peers.spec import PeerSpec, open_peer

_STATUS = Path("/proc/self/status")
_FACE = (1, 112, 112, 3)


def main(spec: PeerSpec) -> None:
    """Print one JSON object: start_up_ms, peak_mib."""
    face = np.random.default_rng(0).integers(0, 256, _FACE, np.uint8)
    start = time.perf_counter()
    if spec.kind == "torch":
        _embed_with_torch(spec, face)
    else:
        peer: Peer = open_peer(spec, threads=1)
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


def _embed_with_torch(spec: PeerSpec, face: NDArray[np.uint8]) -> None:
    """In this process, where a benchmark has torch in another one."""
    from efq.benchmarks.peers.compiled_network import CompiledNetwork

    network = CompiledNetwork(Path(spec.path), backbone=spec.backbone, precision=spec.precision, threads=1)
    network.run(spec.normalization(face))


if __name__ == "__main__":
    main(PeerSpec.from_json(sys.argv[1]))
