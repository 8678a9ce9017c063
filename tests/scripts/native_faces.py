"""EFQ's own kernels on real faces, beside the integer reference: how many bytes of embeddings and maps differ.

    python tests/scripts/native_faces.py student.pt --faces FACES [--list FILE] [--most 100] [--maps 4] [--sets avx2]

Each embedding, on every instruction set that runs here, is compared with that of the student computed in integers
(`efq.export.references.integer`) and brought to unit length as the last step of a plan says; of the first `--maps`
faces also each map that a kernel writes, with the plan's definition in NumPy. It ends with 1 where a byte differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from efq.export import find_target
from efq.export.references.integer import IntegerReference
from efq.runtime.artifact.model_check import check_model
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.fusion import fuse
from efq.runtime.native.library import NativePlan, instruction_sets
from efq.runtime.native.plain import run_plain
from efq.runtime.native.steps import Maps, Plan
from efq.toolchain.data import open_faces
from efq.toolchain.student import Student, load_student

BATCH = 16

Images = NDArray[np.uint8]
Embeddings = NDArray[np.float32]


@dataclasses.dataclass
class Count:
    """Bytes that were compared, and those of them that differ."""

    compared: int = 0
    different: int = 0

    def add(self, found: NDArray[np.generic], wanted: NDArray[np.generic]) -> None:
        """Compare two arrays of one type and as many values."""
        ours, theirs = (np.ascontiguousarray(values).reshape(-1).view(np.uint8) for values in (found, wanted))
        self.compared += ours.size
        self.different += int((ours != theirs).sum())

    def __str__(self) -> str:
        return f"{self.different:,} of {self.compared:,} bytes differ"


def plan_of(student: Student) -> Plan:
    """The plan of the graph that is exported for ONNX Runtime."""
    return compile_plan(check_model(find_target("ort-cpu").write(student).SerializeToString(), Path("model.onnx")))


def reference_embeddings(student: Student, images: Images) -> Iterator[Embeddings]:
    """Those of each batch: of length 1, the root of the squares' sum from first to last in float64."""
    reference = IntegerReference(student)
    for start in range(0, len(images), BATCH):
        raw = reference(torch.from_numpy(np.array(images[start : start + BATCH]))).numpy()
        squares = np.cumsum(raw.astype(np.float64) ** 2, axis=1)[:, -1:]
        yield np.asarray(raw / np.sqrt(squares), np.float32)


def compare_embeddings(student: Student, plan: Plan, images: Images, sets: Sequence[str]) -> dict[str, Count]:
    """By instruction set."""
    fused = fuse(plan)
    natives = {name: NativePlan(fused, name) for name in sets}
    memories = {name: native.new_memory() for name, native in natives.items()}
    counts = {name: Count() for name in natives}
    for number, wanted in enumerate(reference_embeddings(student, images)):
        batch = images[number * BATCH : (number + 1) * BATCH]
        for name, native in natives.items():
            counts[name].add(native.run(memories[name], batch), wanted)
        print(f"\r{number * BATCH + len(batch):,} of {len(images):,} faces", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return counts


def compare_maps(plan: Plan, images: Images, sets: Sequence[str]) -> dict[str, Count]:
    """By instruction set, of all images."""
    fused = fuse(plan)
    natives = {name: NativePlan(fused, name, shared=False) for name in sets}
    counts = {name: Count() for name in natives}
    for image in images:
        wanted: dict[Maps, Images] = {}
        run_plain(plan, image[np.newaxis], lambda maps, found, into=wanted: into.__setitem__(maps, found[-1]))  # type: ignore[misc]
        for name, native in natives.items():
            memory = native.new_memory()
            native.run(memory, image[np.newaxis])
            for step in fused.steps[:-1]:
                maps = fused.place_of(step.target)
                counts[name].add(native.read(memory, maps), wanted[maps])
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where a byte differs, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--list", type=Path, help="a file of the faces to take")
    parser.add_argument("--most", type=int, help="faces, of all; these are drawn")
    parser.add_argument("--maps", type=int, default=4, help="faces whose maps are compared, too")
    parser.add_argument("--sets", nargs="+", choices=instruction_sets(), default=instruction_sets())
    options = parser.parse_args(arguments)
    student = load_student(options.student)
    faces = open_faces(
        options.faces, listing=options.list, contract=student.contract, max_images=options.most, resize=True
    )
    plan, images = plan_of(student), faces.images
    maps = compare_maps(plan, images[: options.maps], options.sets)
    embeddings = compare_embeddings(student, plan, images, options.sets)
    for name, count in embeddings.items():
        print(f"{name}: embeddings of {len(images):,} faces: {count}; maps of {options.maps}: {maps[name]}")
    return int(any(count.different for count in (*embeddings.values(), *maps.values())))


if __name__ == "__main__":
    sys.exit(main())
