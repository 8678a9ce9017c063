"""Hostile changes of an artifact's text files, and everything that reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tests_folder  # noqa: F401
from artifacts import make_artifact, make_manifest, reference_embeddings
from counting import seconds_of

from efq.benchmarks.certificate.page import certificate_page
from efq.export.artifact.model_card import model_card
from efq.export.artifact.probe_face import probe_face
from efq.export.inspection.inspect import inspect
from efq.runtime import Manifest, Probe
from efq.runtime.artifact.folder import (
    CERTIFICATE_FILE,
    CHECKSUMS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    TRAINING_DATA_FILE,
    Artifact,
    write_checksums,
)
from efq.runtime.artifact.parity import (
    AccuracyRecord,
    AgreementRecord,
    EvaluationRecord,
    FacesRecord,
    ParityRecord,
    RatesRecord,
)
from efq.runtime.backends.choice import read_choice
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.errors import EfqError
from efq.runtime.probe.probe import PROBE_FILE
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import read_fingerprint, read_options
from efq.runtime.tensorrt.fingerprint import Fingerprint

SLOW = 1.0
"""Seconds of computing that a text may take."""

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 8, 512, 1 << 31, 1 << 63, 1 << 70, 0.0, -0.5, 1e-9, 1e300, float("nan"),
    float("inf"), "", "a", "1e-3", "\x1b[31m", "\x00", "\ud800", "é" * 50, "../x", "ort-cpu", "openvino", "trt",
    "A" * 100_000, [], {}, [[]], [None], {"a": {"b": {"c": []}}}, {"": 1}, "cuda:0", "none",
)  # fmt: skip


def make_texts(folder: Path) -> Path:
    """An artifact with every text file there is, and beside it a remembered choice."""
    image = probe_face(112, 112)
    probe = Probe(image=image, embedding=reference_embeddings(image[None])[0].astype(np.float32))
    manifest = dataclasses.replace(full_manifest(), probe=probe.record())
    directory = make_artifact(folder / "artifact", manifest=manifest)
    certificate = certificate_of(Artifact.open(directory))
    for name, content in probe.files().items():
        (directory / name).write_bytes(content)
    (directory / PARITY_FILE).write_text(full_parity().to_json(), encoding="utf-8")
    (directory / CERTIFICATE_FILE).write_text(certificate.to_json(), encoding="utf-8")
    hashes = ["0123456789abcdef", "fedcba9876543210"]
    (directory / TRAINING_DATA_FILE).write_text(json.dumps({"images": 3, "sha256_prefixes": hashes}))
    engine = directory / "engine"
    engine.mkdir()
    options = BuildOptions()
    fingerprint = Fingerprint(
        target="trt", version="10.3", cuda="12.6", gpu="NVIDIA A10", compute_capabilities=("8.6",),
        onnx_sha256="0" * 64, plan_sha256="1" * 64, options=options,
    )  # fmt: skip
    (engine / "options.json").write_text(json.dumps(options.to_dict()))
    (engine / "fingerprint.json").write_text(fingerprint.to_json())
    times = {"onnxruntime": 1.5, "openvino": 2.5}
    choice = {"format": 2, "backend": "onnxruntime", "milliseconds": times, "least_cosine": 0.999}
    (folder / "choice.json").write_text(json.dumps(choice))
    write_checksums(directory)
    return directory


def certificate_of(artifact: Artifact) -> Certificate:
    """The certificate of tests/data, bound to an artifact."""
    text = (Path(__file__).parents[1] / "data" / "certificate.json").read_text(encoding="utf-8")
    found = Certificate.from_json(text)
    binding = dataclasses.replace(
        found.binding,
        model_sha256=artifact.checksums[MODEL_FILE],
        teacher_sha256=artifact.manifest.teacher["sha256"],
    )
    return dataclasses.replace(found, binding=binding)


def full_manifest() -> Manifest:
    """With a coverage, a recipe and all that readers look at."""
    count = {"integer": 3, "total": 4, "fraction": 0.75}
    node = {"name": "a", "op_type": "Conv", "elements": 9, "time_share": 0.5}
    lists = ("float_islands", "float_products", "conversions", "layout_changes", "epilogue", "op_types")
    coverage = {"convolutions": count, "matrix_products": count, "multiply_adds": count, "images": 8}
    coverage |= {"runtime": "onnxruntime 1.32", **{name: [node] for name in lists}}
    requantized = {"mean_cosine": 0.99, "least_cosine": 0.9}
    recipe = {"name": "a recipe", "reduced_range": True, "requantized": requantized, "activations": {"a": "prelu"}}
    return make_manifest(coverage=coverage, recipe=recipe)


def full_parity() -> ParityRecord:
    """With an evaluation."""
    rates = RatesRecord(tar_at_far={"1e-4": 0.9}, thresholds={"1e-4": 0.3}, ten_fold={"pairs": 0.99})
    alike = AgreementRecord(
        reference="a", cosine_mean=0.99, cosine_p1=0.9, cosine_min=0.8, decision_far=1e-4, equal_decisions=0.9
    )
    evaluation = EvaluationRecord(
        measured="2026-01-01",
        machine="a CPU",
        faces=FacesRecord(images=9, identities=3, genuine_pairs=9, impostor_pairs=27, sha256="0" * 64),
        accuracy=AccuracyRecord(teacher=rates, artifact=rates),
        teacher=alike,
        student=alike,
    )
    return ParityRecord(export_check={"images": 8, "least_cosine": 0.9999}, evaluation=evaluation)


def mutated_value(found: Any, draw: random.Random) -> Any:
    """`found` with one thing in it replaced, removed, doubled or renamed."""
    if isinstance(found, dict) and found and draw.random() < 0.85:
        key = draw.choice(list(found))
        action = draw.random()
        if action < 0.1:
            return {name: item for name, item in found.items() if name != key}
        if action < 0.2:
            return found | {draw.choice(("x", "", "schema_version", key + " ")): draw.choice(STRANGE)}
        return found | {key: mutated_value(found[key], draw)}
    if isinstance(found, list) and found and draw.random() < 0.85:
        place = draw.randrange(len(found))
        if draw.random() < 0.3:
            return found[:place] + found[place + 1 :] if draw.random() < 0.5 else [*found, *found]
        return [*found[:place], mutated_value(found[place], draw), *found[place + 1 :]]
    return draw.choice(STRANGE)


def mutated_text(content: bytes, draw: random.Random) -> bytes:
    """The bytes of a text file, changed in their structure, in what JSON cannot hold, or as bytes."""
    action = draw.random()
    if action < 0.6:
        with contextlib.suppress(ValueError):
            values = json.loads(content)
            for _ in range(draw.choice((1, 1, 1, 2, 4))):
                values = mutated_value(values, draw)
            return json.dumps(values, indent=draw.choice((None, 2))).encode("utf-8", "surrogatepass")
    if action < 0.7:
        return draw.choice(
            (
                b"", b"\xef\xbb\xbf" + content, content[: draw.randrange(len(content) + 1)], content * 2,
                b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5_000, b"1e999", content.replace(b"1", b"1e999"),
                content.decode().encode("utf-16"), content.replace(b'"', b"'"), content.replace(b"\n", b"\r\n"),
                b"{" + b",".join(b'"%d":1' % number for number in range(20_000)) + b',"0":1}', b"\x00" * 500,
                content.replace(b": ", b": -"),
            )
        )  # fmt: skip
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(len(changed) + 1)
        letter = draw.choice((draw.randrange(256), ord(draw.choice(string.printable))))
        match draw.randrange(3):
            case 0:
                changed[place : place + 1] = bytes([letter])
            case 1:
                changed[place:place] = bytes([letter]) * draw.choice((1, 3, 1000))
            case _:
                del changed[place : place + draw.choice((1, 5, 40))]
    return bytes(changed)


def text_outcome(directory: Path) -> str:
    """What everything that reads the texts of an artifact came to; a service calls it where it opens."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: inspect(directory),
        lambda: Artifact.open(directory).training_data(),
        lambda: read_card(Artifact.open(directory)),
        lambda: read_choice(directory.parent / "choice.json", {"onnxruntime": None, "openvino": None}),
        lambda: read_options(directory / "engine"),
        lambda: read_fingerprint(directory / "engine"),
    )
    refused = set()

    def attempt(check: Callable[[], object]) -> None:
        try:
            check()
        except EfqError as error:
            refused.add(check)
            str(error).encode()

    for check in checks:
        seconds = seconds_of(functools.partial(attempt, check), most=SLOW)
        if seconds > SLOW:
            return f"HOLE: {seconds:.1f} s"
    return "refused" if refused else "read"


def read_card(artifact: Artifact) -> None:
    """What efq-bench does with an artifact's texts, and efq-inspect's output."""
    manifest = artifact.manifest
    certificate = artifact.certificate()
    model_card(manifest, manifest.coverage, artifact.parity(), certificate).encode()
    if certificate is not None:
        certificate_page(certificate).encode()
        assert Certificate.from_json(certificate.to_json()) == certificate
    json.dumps(inspect(artifact.directory)).encode()
    assert Manifest.from_json(manifest.to_json()) == manifest


def text_cases(count: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """The name of each mutation and what came of it."""
    directory = make_texts(folder)
    paths = [directory / name for name in (MANIFEST_FILE, PARITY_FILE, TRAINING_DATA_FILE, CHECKSUMS_FILE)]
    paths += [directory / "engine" / "options.json", directory / "engine" / "fingerprint.json"]
    paths += [directory / PROBE_FILE, directory / CERTIFICATE_FILE, folder / "choice.json"]
    originals = {path: path.read_bytes() for path in paths}
    text_outcome(directory)  # imports take their time
    assert text_outcome(directory) == "read"
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        path = draw.choice((paths[0], paths[0], paths[0], *paths))
        path.write_bytes(mutated_text(originals[path], draw))
        if path.name != CHECKSUMS_FILE and draw.random() < 0.95:
            write_checksums(directory)
        try:
            found = text_outcome(directory)
        except Exception as error:
            found = f"HOLE: {error!r:.500}"
        yield f"{seed}/{number} {path.name}", found
        for changed, content in originals.items():
            changed.write_bytes(content)
