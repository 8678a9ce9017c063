"""The demo's HTML page: one file, everything inside."""

from __future__ import annotations

import html
import string
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from efq.benchmarks.demo.matches import Search
from efq.benchmarks.demo.measurement import NetworkMeasurement
from efq.benchmarks.demo.pictures import contact_sheet, curve, jpeg_uri, png_uri
from efq.benchmarks.demo.result import NAMES, DemoResult
from efq.benchmarks.timing.latency import LatencySetting
from efq.toolchain.evaluation import Estimate, far_name

SHEET_ROWS, SHEET_COLUMNS = 8, 10


def build_page(result: DemoResult, plots: Path) -> str:
    """The page's HTML; `plots` is the folder of the benchmark's PNG files."""
    template = string.Template(resources.files("efq.benchmarks.demo").joinpath("page.html").read_text(encoding="utf-8"))
    faces = result.measurement.faces.faces
    sheet = contact_sheet(faces.images, faces.labels, rows=SHEET_ROWS, columns=SHEET_COLUMNS)
    return template.substitute(
        title="EFQ: from a float teacher to integer kernels",
        summary=_summary(result),
        tiles=_tiles(result),
        faces_note=_faces_note(result),
        sheet=jpeg_uri(sheet),
        training=_training(result),
        accuracy_note=_accuracy_note(result),
        accuracy=_accuracy_table(result),
        latency_note=html.escape(
            "Float teacher and artifact in turn in one run of ONNX Runtime, the order changed every round. Speed-up is "
            "the median over rounds of the teacher's time divided by the artifact's."
        ),
        latency="".join(_latency_table(setting) for setting in result.bench.results.latency),
        plots=_plots(plots),
        matches_note=_matches_note(result),
        matches="".join(_match_row(result, example) for example in result.search.examples),
        steps=_table(("step", "seconds"), [(step.name, f"{step.seconds:.1f}") for step in result.steps]),
        footer=_footer(result),
    )


def _summary(result: DemoResult) -> str:
    faces = "faces that EFQ drew itself" if result.source.drawn else "real faces"
    teacher = (
        "a small float teacher trained on them" if result.source.drawn else "InsightFace's MobileFaceNet as the teacher"
    )
    return html.escape(
        f"On {faces}, with {teacher}: an integer student was distilled, exported to ONNX and measured beside its "
        f"teacher. Every figure on this page was measured in this run, which took {result.seconds:.0f} s."
    )


def _tiles(result: DemoResult) -> str:
    teacher, _, artifact = result.measurement.networks
    difference = artifact.folds.difference or Estimate(value=0.0)
    between = "" if difference.low is None or difference.high is None else _interval(difference.low, difference.high)
    tiles = (
        (f"{100 * result.multiply_add_fraction:.4g} %", "of multiply-adds in integer kernels"),
        (f"{result.artifact_latencies[0].speedup:.2f} x", "as fast as the float teacher, one image, one thread"),
        (f"{100 * result.size_ratio:.0f} %", "of the teacher's file size"),
        (
            f"{100 * difference.value:+.2f}",
            f"points of ten-fold accuracy{between}; the teacher has {100 * teacher.folds.accuracy.value:.2f} %",
        ),
    )
    return "".join(f'<div class="tile"><b>{html.escape(figure)}</b><span>{text}</span></div>' for figure, text in tiles)


def _interval(low: float, high: float) -> str:
    return f" (interval {100 * low:+.2f} to {100 * high:+.2f})"


def _faces_note(result: DemoResult) -> str:
    pairs = result.measurement.networks[0].all_pairs
    data = result.manifest.data
    drawn = (
        "Drawn by a parametric renderer: a person is a set of parameters, a row shows the same person under other "
        "poses, lights, expressions and cameras. They show that the chain works; they say nothing about accuracy on "
        "people. "
        if result.source.drawn
        else ""
    )
    return html.escape(
        f"{drawn}Distilled on {data['images']:,} images of {data['identities']:,} people; measured on {pairs.images:,} "
        f"images of {pairs.identities:,} others, some of whom are shown here."
    )


def _training(result: DemoResult) -> str:
    losses = result.source.teacher_losses
    if not losses:
        return ""
    note = "Cosine-margin softmax loss (CosFace) over the training people, on drawn faces, by step."
    picture = curve(losses, label="loss of the float teacher")
    return f'<section><h2>Training the teacher</h2><p class="muted">{note}</p>{picture}</section>'


def _accuracy_note(result: DemoResult) -> str:
    pairs, folds = result.measurement.networks[0].all_pairs, result.measurement.networks[0].folds
    return html.escape(
        f"TAR@FAR over all pairs of the {pairs.images:,} images ({pairs.genuine_pairs:,} genuine, "
        f"{pairs.impostor_pairs:,} impostor), ten-fold accuracy on {folds.pairs:,} listed pairs, in percent; below "
        "each figure its 95 % bootstrap interval, and the difference to the teacher with its own. "
        "Cosine: of the embeddings to the teacher's, mean and lowest."
    )


def _accuracy_table(result: DemoResult) -> str:
    networks = result.measurement.networks
    fars = [row.far for row in networks[0].all_pairs.rows if row.enough_impostors]
    header = ("network", "ten-fold accuracy", *[f"TAR@{far_name(far)}" for far in fars], "cosine")
    return _table(header, [_accuracy_row(row, fars) for row in networks], escape=False)


def _accuracy_row(row: NetworkMeasurement, fars: Sequence[float]) -> list[str]:
    show_difference = row.kind != "teacher"
    cells = [
        html.escape(NAMES[row.kind]),
        _estimate(row.folds.accuracy, row.folds.difference if show_difference else None),
    ]
    for point in row.all_pairs.rows:
        if point.far in fars:
            cells.append(_estimate(point.tar, point.difference if show_difference else None))
    cells.append(f"{row.cosine_mean:.4f}<small>lowest {row.cosine_min:.4f}</small>" if show_difference else "1")
    return cells


def _estimate(value: Estimate, difference: Estimate | None) -> str:
    text = f"{100 * value.value:.2f}"
    if value.low is not None and value.high is not None:
        text += f"<small>{100 * value.low:.2f} to {100 * value.high:.2f}</small>"
    if difference is not None and difference.low is not None and difference.high is not None:
        low, high = 100 * difference.low, 100 * difference.high
        text += f"<small>{100 * difference.value:+.2f} ({low:+.2f} to {high:+.2f})</small>"
    return text


def _latency_table(setting: LatencySetting) -> str:
    first = f"batch {setting.batch}, {setting.threads} thread{'s' if setting.threads > 1 else ''}"
    header = (first, "p50, ms", "p95, ms", "p99, ms", "images/s", "speed-up", "quartiles")
    rows = [
        (
            row.network,
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.images_per_second:.0f}",
            f"{row.speedup:.2f} x",
            f"{row.speedup_quartiles[0]:.2f} to {row.speedup_quartiles[1]:.2f}",
        )
        for row in setting.networks
    ]
    return _table(header, rows)


def _plots(folder: Path) -> str:
    """The benchmark's pictures: the accuracy ones, then latency by batch size."""
    found = sorted(folder.glob("*.png"), key=lambda path: (path.stem.startswith("latency"), len(path.stem), path.stem))
    return "".join(f'<img alt="{html.escape(path.stem)}" src="{png_uri(path)}">' for path in found)


def _matches_note(result: DemoResult) -> str:
    search = result.search
    return html.escape(
        f"The gallery is one image of each of {search.gallery:,} people; left of the line a probe, right of it the "
        "gallery images most like it, with their cosine. Green is the same person, red another one above the threshold "
        f"for FAR={far_name(_far(result)[0])}. The probes were drawn at random; of all {search.probes:,} probes "
        f"{100 * search.rank_one:.1f} % find their person first."
    )


def _match_row(result: DemoResult, example: Search) -> str:
    images, compared = result.measurement.faces.faces.images, result.measurement.faces.compared
    threshold = _far(result)[1]
    figures = [
        f'<figure class="probe"><img alt="probe" src="{jpeg_uri(images[compared[example.probe]])}">probe</figure>'
    ]
    for match in example.matches:
        kind = "same" if match.same else "accepted" if match.similarity >= threshold else "other"
        picture = jpeg_uri(images[compared[match.image]])
        figures.append(
            f'<figure class="{kind}"><img alt="gallery image" src="{picture}">{match.similarity:.3f}</figure>'
        )
    return f'<div class="match">{"".join(figures)}</div>'


def _far(result: DemoResult) -> tuple[float, float]:
    """The FAR nearest to 1e-3 that the artifact was measured at, and its threshold."""
    rows = result.measurement.networks[-1].all_pairs.rows
    row = min(rows, key=lambda row: abs(np.log10(row.far) + 3))
    return row.far, row.threshold


def _footer(result: DemoResult) -> str:
    machine = result.bench.results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    text = (
        f"{result.command} · {machine.cpu}, {machine.cpu_class}, {machine.cores} cores · {machine.system} · {versions}"
    )
    return html.escape(f"{text} · {result.bench.results.created}")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, escape: bool = True) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell) if escape else cell}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
