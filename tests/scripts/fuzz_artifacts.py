"""Open and call mutated artifacts, many of them.

    python tests/scripts/fuzz_artifacts.py texts --count 20000 --seed 0
    python tests/scripts/fuzz_artifacts.py models --count 2000 --seed 0

`texts`: manifest, checksums, parity record, training data, remembered choice, engine options and fingerprint, in this
process. `models`: model.onnx with hashes that fit, each in a process of its own with limits of time and memory.
Anything but an EfqError or a call that gives sound embeddings is a hole: it is printed with the seed of its mutation,
and the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tests_folder  # noqa: F401
from artifacts import make_manifest
from counting import print_counts
from model_mutations import mutated_model
from networks import NETWORKS, make_student, random_images, randomize
from onnx import helper
from text_mutations import text_cases

from efq.export.surface import with_interface
from efq.export.targets import find_target
from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.runtime import Embedder, Manifest
from efq.runtime.artifact.folder import MANIFEST_FILE, MODEL_FILE, model_metadata, write_checksums
from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.backends.openvino_core import import_openvino
from efq.runtime.errors import EfqError
from efq.runtime.faces.interface import USUAL, Interface

DEADLINE = 30  # seconds of computing for a model
PATIENCE = 600.0  # seconds in which a busy machine has to give it those
MEMORY = 4 * 2**30  # bytes above what the process begins with
TARGETS = {"ort-cpu": ("onnxruntime", "openvino"), "openvino": ("openvino",), "trt": ("onnxruntime",)}


@dataclasses.dataclass(frozen=True)
class Original:
    """A sound artifact: its manifest, its model, and the side of its images."""

    manifest: Manifest
    model: bytes

    @property
    def size(self) -> int:
        return self.manifest.input.height


SURFACES = {
    "preactivation": Interface.parse("float-nchw,bgr,imagenet"),
    "pooling": Interface.parse("uint8-nchw,bgr"),
    "convolution-head": Interface.parse("float-nchw,raw"),
}


def make_originals() -> list[Original]:
    """The graphs of the targets, of every kind of tiny network; some of another surface."""
    found = []
    for name, network in NETWORKS.items():
        interface = SURFACES.get(name, USUAL)
        student = make_student(randomize(network()), images=8, weight_bits=4 if name == "bottleneck" else 8)
        for target in TARGETS:
            prepared = symmetric_form(student, random_images(2).numpy())[0] if target == "trt" else student
            manifest = make_manifest(
                name=f"{name}-{target}",
                target=target,
                input=student.contract,
                embedding_size=student.embedding_size,
                interface=None if interface.is_usual else interface.to_dict(),
            )
            model = with_interface(find_target(target).write(prepared), interface, student.contract)
            helper.set_model_props(model, model_metadata(manifest))
            found.append(Original(manifest, model.SerializeToString()))
    return found


def write_artifact(directory: Path, manifest: Manifest, content: bytes) -> None:
    """An artifact whose hashes fit its model, whatever that is."""
    directory.mkdir(parents=True)
    (directory / MODEL_FILE).write_bytes(content)
    (directory / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    write_checksums(directory)


def call(directory: Path, size: int, backend: str) -> str:
    """Open the artifact and embed one image and five; what came of it."""
    try:
        with Embedder.open(directory, device="cpu", threads=1, backend=backend) as embedder:
            images = random_images(5, size=size).numpy()
            single, several = embedder.embed(images[:1]), embedder.embed(images)
    except EfqError as error:
        return f"refused: {type(error).__name__}"
    for found, count in ((single, 1), (several, 5)):
        lengths = np.linalg.norm(found, axis=1)
        if found.shape != (count, embedder.embedding_size) or not (np.abs(lengths - 1) < 1e-3).all():
            return "HOLE: unsound embeddings"
    return "served" if float(single[0] @ several[0]) > 0.9 else "HOLE: an image alone is another"


def _child(directory: Path, size: int, backend: str, pipe: Connection) -> None:
    """Of a process that was forked with the runtimes imported; its memory is limited."""
    begun = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (begun + MEMORY, begun + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (DEADLINE, DEADLINE))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        pipe.send(call(directory, size, backend))
    except BaseException as error:
        pipe.send(f"HOLE: {error!r:.300}")


def in_a_process(directory: Path, size: int, backend: str) -> str:
    """`call` in a process of its own: what it came to, or how that ended."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(directory, size, backend, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(PATIENCE):
            return f"HOLE: waits over {PATIENCE:g} s"
        with contextlib.suppress(EOFError):
            return str(receiver.recv())
        process.join(PATIENCE)
        code = process.exitcode or 0
        return f"HOLE: {signal.Signals(-code).name if code < 0 else f'exit {code}'}"
    finally:
        process.kill()
        process.join()
        receiver.close()


def model_cases(count: int, seed: int, folder: Path, backend: str | None) -> Iterator[tuple[str, str]]:
    """The name of each mutation and what came of it."""
    import_onnxruntime()
    import_openvino()
    originals = make_originals()
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        original = draw.choice(originals)
        served_by = TARGETS[original.manifest.target]
        chosen = backend if backend in served_by else draw.choice(served_by)
        untouched = number < len(originals)  # they have to be served
        if untouched:
            original = originals[number]
            chosen = TARGETS[original.manifest.target][0]
            content, what = original.model, "nothing"
        else:
            content, what = mutated_model(original.model, draw)
        write_artifact(folder / "mutant", original.manifest, content)
        found = in_a_process(folder / "mutant", original.size, chosen)
        if untouched and found != "served":
            found = f"HOLE: {found}"
        yield f"{seed}/{number} {original.manifest.name} {chosen} {what}", found
        shutil.rmtree(folder / "mutant")


def main() -> None:
    """Count; exit 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("texts", "models"))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", choices=TARGETS["ort-cpu"], help="models: in this runtime only")
    arguments = parser.parse_args()
    logging.disable()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["EFQ_CACHE"] = str(folder / "cache")
        cases = (
            text_cases(arguments.count, arguments.seed, folder)
            if arguments.what == "texts"
            else model_cases(arguments.count, arguments.seed, folder, arguments.backend)
        )
        for name, found in cases:
            is_hole = found.startswith("HOLE")
            counts["HOLE" if is_hole else found] += 1
            if is_hole:
                print(f"{name}: {found}", flush=True)
    print_counts(counts)
    sys.exit("HOLE" in counts)


if __name__ == "__main__":
    main()
