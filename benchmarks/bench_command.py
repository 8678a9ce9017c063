"""efq-bench: latency and accuracy of artifacts beside their float teacher, in one run."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.bench_command")

import importlib.util
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from efq.benchmarks.certify_options import CertifyOptions, certify_options, certify_options_of
from efq.benchmarks.engines.gpu_target import GpuTarget
from efq.runtime.commands.options import DEVICE, PATH, TEXT, THREADS, FiniteFloat, parse_counts, refuse_unused
from efq.runtime.console import efq_command, log, progress
from efq.runtime.errors import MissingDependencyError
from efq.runtime.files import atomic_directory, refuse_inputs
from efq.runtime.tensorrt.module import TARGETS
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.face_options import identity_level_option
from efq.toolchain.teacher_options import teacher_options

if TYPE_CHECKING:
    from efq.benchmarks.bench import Bench, BenchConfig
    from efq.runtime.certificate.certificate import Certificate

_MOST_IMAGES = 1024  # at once: a gigabyte of a large network's activations


@click.command("efq-bench", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("artifacts", metavar="DIR...", nargs=-1, required=True, type=PATH)
@click.option("--teacher", required=True, type=PATH, help="Float checkpoint the artifacts were made from.")
@click.option(
    "--backbone", type=TEXT, metavar="NAME", help="Network of the checkpoint; found by its keys when not given."
)
@teacher_options
@click.option("--student", multiple=True, type=PATH, help="Torch student of each DIR, in their order.")
@click.option("--faces", type=PATH, help="Faces to compare all pairs of.")
@click.option("--list", "listing", type=PATH, help="The images to take, paths relative to --faces, one a line.")
@identity_level_option
@click.option("--pairs", multiple=True, type=PATH, help="Pairs for ten-fold accuracy: a .bin or a list (repeatable).")
@click.option("--calibration-list", type=PATH, help="Faces the peers are calibrated on, relative to --faces.")
@click.option("--batch", type=TEXT, default="1", show_default=True, metavar="N,N", help="Batch sizes to time.")
@click.option(
    "--threads", type=TEXT, default="1", show_default=True, metavar="N,N", help="Numbers of CPU threads to time."
)
@click.option(
    "--peers", is_flag=True, help="Also what ONNX Runtime, OpenVINO with NNCF, and torch.compile make of the teacher."
)
@click.option("--target", type=click.Choice(TARGETS), help="Compare INT8, FP16 and FP32 engines on a GPU.")
@click.option("--device", type=DEVICE, metavar="cuda:N", help="GPU of --target.  [default: cuda:0]")
@click.option("--rebuild", is_flag=True, help="With --target: build engines of DIR that are missing or from elsewhere.")
@click.option(
    "--rounds", default=200, show_default=True, type=click.IntRange(1, 1_000_000), help="Timed rounds a setting."
)
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=FiniteFloat(0, 86_400, min_open=True),
    help="Stop a setting after so long, but not before 10 rounds.",
)
@click.option("--min-cosine", type=FiniteFloat(-1, 1), help="Fail (exit 3) if any image's cosine is below.")
@click.option("--min-decisions", type=FiniteFloat(0, 1), help="Fail (exit 3) if fewer decisions are equal.")
@certify_options
@click.option("--title", type=TEXT, default="Benchmark", show_default=True, help="Heading of the report.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder for report.md, report.json and plots.")
@click.option("--force", is_flag=True, help="Replace the output folder when it is not empty.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
@efq_command
def main(
    artifacts: tuple[Path, ...],
    teacher: Path,
    backbone: str | None,
    teacher_input: str | None,
    accept_teacher: bool,
    student: tuple[Path, ...],
    faces: Path | None,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    pairs: tuple[Path, ...],
    calibration_list: Path | None,
    batch: str,
    threads: str,
    peers: bool,
    target: str | None,
    device: str | None,
    rebuild: bool,
    rounds: int,
    seconds: float,
    min_cosine: float | None,
    min_decisions: float | None,
    title: str,
    output: Path,
    force: bool,
    as_json: bool,
    **certify_values: Any,
) -> None:
    """Time artifacts and their float teacher in turn in one run, and compare their embeddings on faces.

    Without --faces and --pairs only latency is measured; --pairs alone compares the listed pairs, whose images a .bin
    brings itself. Writes report.md, report.json and plots, and each artifact's parity.json. --min-cosine and
    --min-decisions hold each artifact against its torch student where --student is given, else against the teacher.
    With --target the teacher is built into engines of float16 and float32 as well, and GPU time, memory and clocks are
    reported. With --certify each artifact gets a certificate, certificate.json and a page, if it passes all gates.
    """
    if faces is None:
        refuse_unused(
            ("min_decisions", "listing", "identity_level", "calibration_list"), "without faces to compare on (--faces)"
        )
    if faces is None and not pairs:
        refuse_unused(("min_cosine", "student"), "without faces to compare on (--faces, --pairs)")
    if target is None:
        refuse_unused(("device", "rebuild"), f"without --target {' or '.join(TARGETS)}")
    if not peers:
        refuse_unused(("calibration_list",), "without --peers, which are what is calibrated")
    asked = certify_options_of(faces=faces, **certify_values)
    inputs = {"the teacher": teacher, "the faces": faces, "the list": listing, "the calibration list": calibration_list}
    inputs["the cohorts"] = None if asked is None else asked.cohorts
    inputs |= {f"the input {path}": path for path in (*artifacts, *student, *pairs)}
    refuse_inputs(output, inputs)
    _require_train_packages()
    from efq.benchmarks.bench import BenchConfig, run_bench
    from efq.benchmarks.report.report import write_report

    config = BenchConfig(
        artifacts=artifacts,
        teacher=teacher,
        backbone=backbone,
        teacher_input=teacher_input,
        accept_teacher=accept_teacher,
        students=student,
        faces=faces,
        listing=listing,
        identity_level=identity_level,
        cohorts=None if asked is None else asked.cohorts,
        pairs=pairs,
        calibration=calibration_list,
        batches=parse_counts(batch, "--batch", most=_MOST_IMAGES),
        threads=parse_counts(threads, "--threads", most=THREADS.max or 1),
        peers=peers,
        gpu=None if target is None else GpuTarget(name=target, device=device or "cuda:0", rebuild=rebuild),
        rounds=rounds,
        seconds=seconds,
        title=title,
        command=shlex.join(["efq-bench", *sys.argv[1:]]),
    )
    _check_teacher_file(config, asked)
    with atomic_directory(output, force=force) as folder:
        bench = run_bench(config, progress=progress)
        comparison = bench.comparison
        certificates, pages = _certify(bench, asked, folder)
        write_report(
            folder,
            bench.results,
            curves=comparison.curves if comparison else {},
            cosines=comparison.cosines if comparison else {},
            certificates=pages,
        )
    log(f"report written to {output}")
    _print(bench, output=output, as_json=as_json)
    _check_gates(bench, min_cosine, min_decisions, certificates)
    if comparison is not None:
        _update_artifacts(config, bench, certificates)


def _require_train_packages() -> None:
    """Raise MissingDependencyError unless what runs a teacher and draws plots is installed."""
    missing = [name for name in ("torch", "onnx", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        message = f"efq-bench needs {', '.join(missing)}; install with: pip install 'efq[train]'"
        raise MissingDependencyError(message)


def _print(bench: Bench, *, output: Path, as_json: bool) -> None:
    from efq.benchmarks.report.report import to_markdown

    if as_json:
        click.echo(json.dumps(bench.results.to_dict() | {"report": str(output)}, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(to_markdown(bench.results))


def _check_teacher_file(config: BenchConfig, asked: CertifyOptions | None) -> None:
    from efq.benchmarks.certify import check_teacher_file

    if asked is not None:
        check_teacher_file(config)


def _certify(bench: Bench, asked: CertifyOptions | None, folder: Path) -> tuple[list[Certificate], dict[str, str]]:
    """The certificate of each artifact, also written into the report's folder; none where none is asked for.

    With them the artifact that each page there is about, by its file name.
    """
    from efq.benchmarks.certify import certify_artifacts, write_certificates

    if asked is None:
        return [], {}
    certificates = certify_artifacts(bench, asked)
    return certificates, write_certificates(folder, certificates, bench.names)


def _check_gates(
    bench: Bench, min_cosine: float | None, min_decisions: float | None, certificates: Sequence[Certificate]
) -> None:
    """Hold each artifact against its torch student or against the teacher, and certificates. Raises ParityError."""
    from efq.benchmarks.accuracy.parity import check_gates
    from efq.benchmarks.certify import check_certificates

    if certificates:
        check_certificates(certificates, bench.names)
    if bench.results.accuracy is None:
        return
    references = bench.student_names or [bench.results.reference] * len(bench.names)
    for reference, name in zip(references, bench.names, strict=True):
        check_gates(bench.results.accuracy.between(reference, name), min_cosine=min_cosine, min_decisions=min_decisions)


def _update_artifacts(config: BenchConfig, bench: Bench, certificates: Sequence[Certificate]) -> None:
    from efq.benchmarks.certificate.page import certificate_page
    from efq.benchmarks.parity_record import evaluation_records
    from efq.export.artifact.writer import update_parity

    found: Sequence[Certificate | None] = certificates or [None] * len(config.artifacts)
    for directory, evaluation, certificate in zip(config.artifacts, evaluation_records(bench), found, strict=True):
        page = None if certificate is None else certificate_page(certificate)
        update_parity(directory, evaluation, certificate=certificate, page=page)
        log(f"parity.json updated in {directory}" if certificate is None else f"certified: {directory}")
