"""The certificates of a benchmark's artifacts: bound to both networks, measured, written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from efq.benchmarks.bench import Bench, BenchConfig
from efq.benchmarks.certificate.page import certificate_page
from efq.benchmarks.certify_gates import check_gates, gates_of
from efq.benchmarks.certify_options import CertifyOptions
from efq.runtime.artifact.folder import CERTIFICATE_FILE, CERTIFICATE_PAGE_FILE, MODEL_FILE, Artifact
from efq.runtime.certificate.binding import Binding
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.errors import UsageError
from efq.runtime.files import atomic_write_text
from efq.runtime.reading import sha256_file
from efq.runtime.targets import find_target
from efq.toolchain.evaluation.certificate.certify import Certified, certify

_LONGEST = 500


def check_teacher_file(config: BenchConfig) -> None:
    """Raise UsageError unless every artifact was made from the teacher: before any work, as it takes minutes."""
    found = sha256_file(config.teacher, expected="a teacher's checkpoint")
    for directory in config.artifacts:
        teacher = Artifact.open(directory).manifest.teacher
        if teacher["sha256"] != found:
            message = (
                f"expected to certify {directory} beside the teacher it was made from, {teacher['name']} with SHA-256 "
                f"{teacher['sha256']}, found {config.teacher} with {found}: give that file as --teacher"
            )
            raise UsageError(message)


def certify_artifacts(bench: Bench, options: CertifyOptions) -> list[Certificate]:
    """The certificate of each artifact, in their order, with the gates that were asked for; none is checked here.

    Raises what `certify` and `gates_of` raise.
    """
    faces = bench.faces
    assert faces is not None  # --certify without faces is refused
    compared = faces.compared
    certificates = []
    for artifact, name in zip(bench.artifacts, bench.names, strict=True):
        measured = certify(
            Certified(
                teacher=bench.embeddings[bench.results.reference][compared],
                student=bench.embeddings[name][compared],
                labels=faces.labels,
                faces=_line(bench.results.faces),
                faces_sha256=faces.faces.sha256,
                attempts=len(faces.faces) + len(faces.faces.unreadable),
                failures_to_enrol=len(faces.faces.unreadable),
                deployed=options.deployed_threshold,
                cohorts=bench.cohorts,
            ),
            _binding(artifact, bench),
            bench.results.created,
        )
        certificates.append(dataclasses.replace(measured, gates=gates_of(measured, options)))
    return certificates


def write_certificates(folder: Path, certificates: Sequence[Certificate], names: Sequence[str]) -> dict[str, str]:
    """Write those of the artifacts `names` into the report's `folder`: of those that fail a gate, too.

    The files are numbered where there are several. Returns the artifact that each page is about, by the page's file
    name.
    """
    pages = {}
    for number, (artifact, certificate) in enumerate(zip(names, certificates, strict=True), start=1):
        for name, text in certificate_files(certificate).items():
            path = folder / name
            numbered = path if len(certificates) == 1 else path.with_stem(f"{path.stem}-{number}")
            atomic_write_text(numbered, text)
            if name == CERTIFICATE_PAGE_FILE:
                pages[numbered.name] = artifact
    return pages


def check_certificates(certificates: Sequence[Certificate], names: Sequence[str]) -> None:
    """Raise ParityError for the first of the artifacts `names` that fails a gate."""
    for artifact, certificate in zip(names, certificates, strict=True):
        check_gates(artifact, certificate.gates)


def certificate_files(certificate: Certificate) -> dict[str, str]:
    """The texts of a report, by file name."""
    return {CERTIFICATE_FILE: certificate.to_json(), CERTIFICATE_PAGE_FILE: certificate_page(certificate)}


def _binding(artifact: Artifact, bench: Bench) -> Binding:
    manifest, machine, gpu = artifact.manifest, bench.results.machine, bench.results.gpu
    return Binding(
        artifact=_line(manifest.name),
        target=_line(manifest.target),
        backend=find_target(manifest.target).backends[0],
        model_sha256=artifact.checksums[MODEL_FILE],
        teacher=_line(manifest.teacher["name"]),
        teacher_sha256=manifest.teacher["sha256"],
        student_sha256=manifest.origin.student_sha256,
        machine=_line(machine.cpu if gpu is None else gpu.machine.name),
        machine_class=machine.cpu_class if gpu is None else "GPU",
        tools={name: _line(version) for name, version in machine.packages.items()},
    )


def _line(text: str) -> str:
    """On one line that a terminal shows as it is."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_LONGEST] or "unnamed"
