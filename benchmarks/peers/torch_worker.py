"""The process in which torch.compile's network runs: its threads and memory are not those of what is timed beside it.

Each message, both ways, is a line of JSON and the bytes of an array: {"shape": [...]} and float32 values; a reply has
"seconds" as well, the time of the network alone. An error is a line {"error": "..."} without bytes, and the end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import BinaryIO

import numpy as np

from efq.benchmarks.peers.spec import PeerSpec
from efq.runtime.cleanup import end_with_parent


def main(spec: PeerSpec, threads: int, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until they end."""
    end_with_parent()
    try:
        from efq.benchmarks.peers.compiled_network import CompiledNetwork

        network = CompiledNetwork(spec, threads=threads)
        while line := requests.readline():
            shape = json.loads(line)["shape"]
            images = np.frombuffer(requests.read(4 * int(np.prod(shape))), np.float32).reshape(shape).copy()
            start = time.perf_counter()
            embeddings = np.ascontiguousarray(network.run(images), np.float32)
            seconds = time.perf_counter() - start
            reply = {"shape": embeddings.shape, "seconds": seconds}
            replies.write(json.dumps(reply).encode() + b"\n" + embeddings.tobytes())
            replies.flush()
    except Exception as error:  # whatever the compiler meets is for the table, not a traceback
        lines = [text.strip() for text in str(error).splitlines() if text.strip()]
        reason = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
        replies.write(json.dumps({"error": reason}).encode() + b"\n")
        replies.flush()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # what libraries print must not be taken for a reply
        main(PeerSpec.from_json(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer, output)
