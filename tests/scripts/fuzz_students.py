"""Load mutated students, many of them: `python tests/scripts/fuzz_students.py --count 20000 --seed 0`.

Of the fields of a student or of the bytes of its file. Counts what came of them: a CheckpointError, or a student that
runs, that efq-inspect describes and that every target plans to write or refuses as an EfqError; some (--checked) are
also exported whole. Anything else is a hole: it is printed with the seed of its mutation, and the exit code is 1.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import tests_folder  # noqa: F401
import torch
from counting import MARK, count_attempts, parser
from networks import NETWORKS, make_student, randomize

from efq.export import export_student, find_target
from efq.export.inspection.inspect import inspect
from efq.export.plan import export_plan
from efq.runtime.errors import CheckpointError, EfqError
from efq.toolchain.networks import network_kind
from efq.toolchain.student import FORMAT, load_student, save_student

TARGETS = ("ort-cpu", "openvino", "trt")
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


def damaged(data: bytes, draw: random.Random) -> bytes:
    """A file's bytes with some changed, cut off, doubled or left out."""
    found = bytearray(data)
    action = draw.random()
    start, end = sorted(draw.randrange(len(found)) for _ in range(2))
    if action < 0.2:
        return bytes(found[:end])
    if action < 0.3:
        return bytes(found[:start] + found[min(end, start + 200) :])
    if action < 0.4:
        return bytes(found[:end] + found[start:])
    for _ in range(draw.choice((1, 1, 2, 10))):
        place = draw.randrange(len(found)) if action < 0.7 else draw.randrange(max(1, len(found) - 8000), len(found))
        found[place] = draw.choice((0, 1, 255, draw.randrange(256)))
    return bytes(found)


def mutated_file(data: bytes, content: dict[str, Any], draw: random.Random) -> bytes:
    """The student of `content`, whose file is `data`, damaged as bytes or changed as values."""
    if draw.random() < 0.2:
        return damaged(data, draw)
    changed: Any = content
    field = draw.choice(list(content))  # each as often, not each value
    if draw.random() < 0.6:
        changed = content | {field: mutated(content[field], draw)}
    else:
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            changed = mutated(changed, draw)
    kept = changed if isinstance(changed, dict) else {"format": changed}
    buffer = io.BytesIO()
    torch.save(kept | {"format": FORMAT}, buffer)
    return buffer.getvalue()


def outcome(path: Path, *, checked: bool = False) -> str:
    """What loading the student at `path` and doing with it what commands do came to."""
    try:
        kind = network_kind(path)
        if kind != "student":
            return "no student any more"
        student = load_student(path)
    except CheckpointError:
        return "refused"
    student.network(torch.zeros(1, student.contract.height, student.contract.width, 3, dtype=torch.uint8))
    json.dumps(inspect(path), allow_nan=False).encode()
    refused = 0
    for name in TARGETS:
        target = find_target(name)
        try:
            if checked and not target.builds_engine:
                export_student(student, target, path.with_suffix(".artifact"), bits=student.bits["weights"], force=True)
                inspect(path.with_suffix(".artifact"))
            json.dumps(export_plan(student, target), allow_nan=False).encode()
        except EfqError:
            refused += 1
    return f"loaded and ran; {refused} of {len(TARGETS)} targets refuse it"


def main() -> None:
    """Count; exit 1 for a hole."""
    options = parser(__doc__, count=2000)
    options.add_argument("--checked", type=float, default=0.02, help="Share that is exported whole.")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.pt"
        originals = []
        for name in NETWORKS:
            save_student(make_student(randomize(NETWORKS[name]())), path)
            originals.append((path.read_bytes(), torch.load(path, weights_only=True)))

        def attempt(draw: random.Random, number: int) -> str:
            path.write_bytes(mutated_file(*draw.choice(originals), draw))
            return outcome(path, checked=draw.random() < arguments.checked)

        count_attempts(arguments, attempt)


if __name__ == "__main__":
    main()
