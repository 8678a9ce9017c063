"""Hostile models in EFQ's own kernels: refused, or computed as the definition in NumPy does, whatever they hold.

    python tests/scripts/fuzz_native.py --count 2000 --seed 0

Under tests/native/sanitized.sh a byte that is read out of bounds ends it.
"""

from __future__ import annotations

import argparse
import random
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from model_mutations import mutated_model

sys.path.insert(0, str(Path(__file__).parents[1]))

from networks import NETWORKS, make_student, random_images, randomize

from efq.export import find_target
from efq.runtime.artifact.model_check import check_model
from efq.runtime.errors import IncompatibleArtifactError
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.fusion import fuse
from efq.runtime.native.library import NativePlan, instruction_sets
from efq.runtime.native.plain import run_plain

LARGEST = 2**22  # values of a plan that is computed
IMAGES = random_images(2, seed=3).numpy()


def models() -> list[bytes]:
    """Of the tiny networks, with exact PReLUs."""
    found = []
    for network in NETWORKS.values():
        student = make_student(randomize(network()), activation="prelu")
        model = onnx.load_from_string(find_target("ort-cpu").write(student).SerializeToString())
        onnx.helper.set_model_props(model, {"efq": "tiny"})
        found.append(model.SerializeToString())
    return found


def try_model(content: bytes) -> str:
    """What became of it. Raises whatever it should not."""
    try:
        plan = compile_plan(check_model(content, Path("model.onnx")))
    except IncompatibleArtifactError as error:
        return type(error).__name__
    fused = fuse(plan)
    images = np.zeros((1, plan.images.rows, plan.images.columns, 3), np.uint8)
    if images.shape[1:] == IMAGES.shape[1:]:
        images = IMAGES
    if sum(step.target.size for step in plan.steps) > LARGEST or plan.multiply_adds > LARGEST:
        return "too large to try"
    wanted = run_plain(plan, images)
    for name in instruction_sets():
        native = NativePlan(fused, name)
        np.testing.assert_array_equal(native.run(native.new_memory(), images), wanted, err_msg=name)
    return "computed"


def main(arguments: Sequence[str] | None = None) -> int:
    """The number of models that broke something, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("error")
    sound, found = models(), {}
    broken = 0
    for number in range(options.count):
        draw = random.Random(f"{options.seed}/{number}")
        content, change = mutated_model(draw.choice(sound), draw)
        try:
            result = try_model(content)
        except Exception as error:
            broken += 1
            result = "broken"
            print(f"{options.seed}/{number} ({change}): {type(error).__name__}: {str(error)[:300]}")
        found[result] = found.get(result, 0) + 1
    print(", ".join(f"{key}: {value}" for key, value in sorted(found.items())))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
