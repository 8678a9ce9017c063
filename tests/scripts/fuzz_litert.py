"""Give LiteRT damaged files: `python tests/scripts/fuzz_litert.py --count 20000 --seed 0`.

Each is refused by EFQ's own check as an EfqError, or LiteRT, in a process of its own, loads and runs it or refuses it
with an exception. A process that ends otherwise, or a check that raises anything else or takes long, is a hole.
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tests_folder  # noqa: F401
from litert_files import PATH, mutated, tiny_file

from efq.runtime.errors import IncompatibleArtifactError
from efq.runtime.litert.model_check import check_litert

RUN = """
import pathlib, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
for number, path in enumerate(sorted(pathlib.Path(sys.argv[1]).iterdir())):
    print(number, flush=True)
    content = path.read_bytes()
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        (image,) = interpreter.get_input_details()
        interpreter.set_tensor(image["index"], np.full(image["shape"], 77, np.uint8))
        interpreter.invoke()
    except (ValueError, RuntimeError):
        pass
"""
SLOW = 5.0


def run_in_litert(contents: list[bytes]) -> None:
    """Raises AssertionError for a file at which the process ended."""
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(contents):
            Path(folder, f"{number:06}.tflite").write_bytes(content)
        done = subprocess.run([sys.executable, "-c", RUN, folder], capture_output=True, text=True, check=False)
    last = int(done.stdout.split()[-1]) if done.stdout.split() else 0
    if done.returncode != 0:
        place = Path(tempfile.gettempdir(), "hole.tflite")
        place.write_bytes(contents[last])
        message = f"LiteRT ended with {done.returncode} at {place}: {done.stderr[-500:]}"
        raise AssertionError(message)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    originals = [tiny_file(), tiny_file("pooling", activation="leaky"), tiny_file(activation_bits=6, weight_bits=6)]
    found: collections.Counter[str] = collections.Counter()
    accepted: list[bytes] = []
    for _ in range(options.count):
        content = mutated(draw.choice(originals), draw)
        start = time.thread_time()
        try:
            check_litert(content, PATH)
            accepted.append(content)
            found["accepted"] += 1
        except IncompatibleArtifactError:
            found["refused"] += 1
        assert time.thread_time() - start < SLOW
        if len(accepted) == 500:
            run_in_litert(accepted)
            accepted = []
    run_in_litert(accepted)
    print(dict(found))


if __name__ == "__main__":
    main()
