"""Load mutated students, many of them: `python tests/fuzz_students.py --count 20000 --seed 0`.

Counts what came of them. Anything but a CheckpointError, or a student that runs or whose shapes do not go together
(torch's RuntimeError), is a hole: it is printed with the seed of its mutation, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import copy
import io
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from networks import NETWORKS, make_student, randomize

from efq.runtime.errors import CheckpointError
from efq.toolchain.student import load_student, save_student

MARK = "EFQ_RAN_CODE"
CODE = f"__import__('os').environ.__setitem__('{MARK}', '1')"
NAMES = (
    "forward",
    "__class__",
    "_modules",
    "a.b",
    "stem",
    "stem.0",
    "class",
    "Add",
    "Flatten",
    "output",
    "placeholder",
)


def value(draw: random.Random, depth: int = 0) -> Any:
    """Anything a torch file may hold."""
    makers = [
        lambda: None,
        lambda: draw.random() < 0.5,
        lambda: draw.choice((0, -1, 1, 2, 3, 8, 64, 1 << 20, 1 << 40, 1 << 70)),
        lambda: draw.choice((0.0, -1.0, 1e-9, 1e300, float("nan"), float("inf"))),
        lambda: draw.choice(
            (*NAMES, CODE, f"x={CODE}", f"a');{CODE};('", f'a");{CODE};("', "\n" + CODE, "", "é", "a" * 500)
        ),
        lambda: torch.randn(draw.choice(((), (1,), (3,), (8, 3, 3, 3), (0, 8)))),
        lambda: torch.zeros(3, dtype=draw.choice((torch.uint8, torch.int64, torch.float16))),
    ]
    if depth < 2:
        makers += [
            lambda: [value(draw, depth + 1) for _ in range(draw.randrange(4))],
            lambda: {draw.choice(NAMES): value(draw, depth + 1) for _ in range(draw.randrange(4))},
        ]
    return draw.choice(makers)()


def mutated(found: Any, draw: random.Random) -> Any:
    """`found` with one thing in it replaced, removed, doubled or swapped."""
    if isinstance(found, dict) and found and draw.random() < 0.85:
        key = draw.choice(list(found))
        if draw.random() < 0.05:
            return {name: item for name, item in found.items() if name != key}
        return found | {key: mutated(found[key], draw)}
    if isinstance(found, list) and found and draw.random() < 0.85:
        place, other = draw.randrange(len(found)), draw.randrange(len(found))
        action = draw.random()
        if action < 0.7:
            return [*found[:place], mutated(found[place], draw), *found[place + 1 :]]
        if action < 0.8:
            return found[:place] + found[place + 1 :]
        if action < 0.9:
            return [*found[: place + 1], *found[place:]]
        swapped = list(found)
        swapped[place], swapped[other] = swapped[other], swapped[place]
        return swapped
    if isinstance(found, torch.Tensor) and found.numel() and found.is_floating_point() and draw.random() < 0.5:
        changed = found.clone().flatten()
        changed[draw.randrange(changed.numel())] = draw.choice((float("nan"), float("inf"), 1e30, -1e30, 0.0))
        return changed.reshape(found.shape)
    return value(draw)


def outcome(path: Path) -> str:
    """What loading the student at `path` and running it came to."""
    try:
        student = load_student(path)
    except CheckpointError:
        return "refused"
    try:
        student.network(torch.zeros(1, student.contract.height, student.contract.width, 3, dtype=torch.uint8))
    except RuntimeError:
        return "loaded, its shapes do not go together"
    return "loaded and ran"


def main() -> None:
    """Count; exit 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.pt"
        originals = []
        for name in NETWORKS:
            save_student(make_student(randomize(NETWORKS[name]())), path)
            originals.append(torch.load(path, weights_only=True))
        for number in range(arguments.count):
            draw = random.Random(f"{arguments.seed}/{number}")
            content = copy.copy(draw.choice(originals))
            for _ in range(draw.choice((1, 1, 1, 2, 5))):
                content = mutated(content, draw)
            kept = content if isinstance(content, dict) else {"format": content}
            buffer = io.BytesIO()
            torch.save(kept | {"format": "efq-student"}, buffer)
            path.write_bytes(buffer.getvalue())
            try:
                found = outcome(path)
            except Exception as error:
                found = f"HOLE: {type(error).__name__}"
                print(f"{arguments.seed}/{number}: {error!r}", flush=True)
            if os.environ.pop(MARK, None):
                found = "HOLE: code ran"
                print(f"{arguments.seed}/{number}: code ran", flush=True)
            counts[found] += 1
    for found, count in counts.most_common():
        print(f"{count:7,}  {found}")
    raise SystemExit(any(found.startswith("HOLE") for found in counts))


if __name__ == "__main__":
    main()
