"""The demo's steps, one after the other, each timed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from efq.benchmarks.bench import Bench, BenchConfig, run_bench
from efq.benchmarks.demo.matches import search_gallery
from efq.benchmarks.demo.measurement import measure_networks
from efq.benchmarks.demo.page import build_page
from efq.benchmarks.demo.result import DemoResult, Step
from efq.benchmarks.demo.settings import DemoSettings
from efq.benchmarks.demo.sources import Source, draw_source, real_source, with_teacher
from efq.benchmarks.parity_record import evaluation_records
from efq.benchmarks.report.report import write_report
from efq.export.artifact.writer import update_parity
from efq.export.exporter import export_student
from efq.export.targets import find_target
from efq.runtime.artifact.folder import Artifact
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data import open_faces
from efq.toolchain.distillation import Licences, distill, reuse_freed_memory
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import load_student
from efq.toolchain.teachers import open_teacher

EXAMPLES, BEST = 6, 7
_OUR_LICENCE = "Apache-2.0"
_RESEARCH_LICENCE = "research use only"

_logger = logging.getLogger(__name__)


def run_demo(
    folder: Path,
    settings: DemoSettings,
    *,
    faces: Path | None,
    seed: int,
    command: str,
    progress: ShowProgress = no_progress,
) -> tuple[DemoResult, str]:
    """Run the whole chain into `folder`, on drawn faces or on real ones in `faces`.

    Returns the outcome and the page's HTML.

    Raises what the steps raise; `folder` then holds what was made so far.
    """
    reuse_freed_memory()
    clock = _Clock()
    student, artifact, report = folder / "student.pt", folder / "artifact", folder / "bench"
    with _cache_inside(folder):
        with clock.step("faces"):
            if faces is None:
                source = draw_source(folder, settings.dataset, seed=seed, progress=progress)
            else:
                source = real_source(faces, folder)
        if source.drawn:
            with clock.step("teacher"):
                source = with_teacher(source, settings.teacher, seed=seed, progress=progress)
        with clock.step("distillation"):
            recipe = settings.drawn_recipe if source.drawn else settings.real_recipe
            _distill(source, recipe, student, seed=seed, progress=progress)
        with clock.step("export"):
            export_student(load_student(student), find_target("ort-cpu"), artifact, bits=8, name="demo")
        with clock.step("speed and parity"):
            bench = _bench(source, artifact, report, settings, command, progress)
        with clock.step("accuracy"):
            measurement = measure_networks(source, student, artifact, resamples=settings.resamples, progress=progress)
        search = search_gallery(
            measurement.embeddings[measurement.faces.compared],
            measurement.faces.labels,
            examples=EXAMPLES,
            best=BEST,
            seed=seed,
        )
        result = DemoResult(
            command=command,
            source=source,
            steps=clock.steps,
            manifest=Artifact.open(artifact).manifest,
            bench=bench,
            measurement=measurement,
            search=search,
        )
        page = build_page(result, report / "plots")
    return result, page


def _distill(source: Source, recipe: Recipe, student: Path, *, seed: int, progress: ShowProgress) -> None:
    faces = open_faces(
        source.root, listing=source.train, max_images=recipe.steps * recipe.batch, seed=seed, progress=progress
    )
    licences = Licences(teacher=_OUR_LICENCE, data=_OUR_LICENCE) if source.drawn else Licences(data=_RESEARCH_LICENCE)
    teacher = open_teacher(source.teacher, source.backbone)
    distill(teacher, faces, recipe, student, seed=seed, licences=licences, progress=progress)


def _bench(
    source: Source, artifact: Path, report: Path, settings: DemoSettings, command: str, progress: ShowProgress
) -> Bench:
    config = BenchConfig(
        artifacts=(artifact,),
        teacher=source.teacher,
        backbone=source.backbone,
        faces=source.root,
        listing=source.dev,
        batches=(1, 16),
        rounds=settings.rounds,
        seconds=settings.seconds,
        command=command,
    )
    bench = run_bench(config, progress=progress)
    report.mkdir()
    assert bench.comparison is not None  # there are faces
    write_report(report, bench.results, curves=bench.comparison.curves, cosines=bench.comparison.cosines)
    update_parity(artifact, evaluation_records(bench)[0])
    return bench


class _Clock:
    """Names and times the steps."""

    def __init__(self) -> None:
        self._steps: list[Step] = []

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self._steps)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        _logger.info("== %s", name)
        start = time.monotonic()
        yield
        self._steps.append(Step(name=name, seconds=time.monotonic() - start))
        _logger.info("== %s: %.1f s", name, self._steps[-1].seconds)


@contextlib.contextmanager
def _cache_inside(folder: Path) -> Iterator[None]:
    """Decoded faces go into `folder` and are removed with the last step: nobody opens these faces again."""
    before, cache = os.environ.get("EFQ_CACHE"), folder / "cache"
    os.environ["EFQ_CACHE"] = str(cache)
    try:
        yield
    finally:
        if before is None:
            del os.environ["EFQ_CACHE"]
        else:
            os.environ["EFQ_CACHE"] = before
        shutil.rmtree(cache, ignore_errors=True)
