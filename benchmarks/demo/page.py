"""The demo's HTML page: one file, everything inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from efq.benchmarks.demo.matches import Search
from efq.benchmarks.demo.measurement import NetworkMeasurement
from efq.benchmarks.demo.pictures import contact_sheet, jpeg_uri, loss_plot, png_uri
from efq.benchmarks.demo.result import NAMES, DemoResult
from efq.benchmarks.pages.document import document
from efq.benchmarks.pages.markup import Html, element, headings, join, paragraph, section, small, table, text
from efq.benchmarks.timing.latency import LatencySetting
from efq.toolchain.evaluation import Estimate, far_name

SHEET_ROWS, SHEET_COLUMNS = 8, 10


def build_page(result: DemoResult, plots: Path) -> str:
    """The page's HTML; `plots` is the folder of the benchmark's PNG files."""
    title = "EFQ: from a float teacher to integer kernels"
    style = resources.files("efq.benchmarks.demo").joinpath("page.css").read_text(encoding="utf-8")
    header = element("header", element("h1", text(title)), paragraph(text(_summary(result))))
    sections = [section(key, text(name), *content) for key, name, content in _sections(result, plots)]
    footer = element("footer", text(_footer(result)))
    return document(title, element("main", header, _tiles(result), *sections, footer), style=style, images=True)


def _sections(result: DemoResult, plots: Path) -> Iterator[tuple[str, str, Sequence[Html]]]:
    faces = result.measurement.faces.faces
    sheet = jpeg_uri(contact_sheet(faces.images, faces.labels, rows=SHEET_ROWS, columns=SHEET_COLUMNS))
    picture = element("img", class_="sheet", alt="Rows of faces, each row one person", src=sheet)
    yield "faces", "The faces", [_note(_faces_note(result)), picture]
    losses = result.source.teacher_losses
    if losses:
        note = "Cosine-margin softmax loss (CosFace) over the training people, on drawn faces, by step."
        yield "training", "Training the teacher", [_note(note), element("div", loss_plot(losses), class_="plots")]
    yield "accuracy", "Accuracy", [_note(_accuracy_note(result)), _accuracy_table(result)]
    latency = (
        "Float teacher and artifact in turn in one run of ONNX Runtime, the order changed every round. Speed-up is the "
        "median over rounds of the teacher's time divided by the artifact's."
    )
    yield "latency", "Speed and size", [_note(latency), *map(_latency_table, result.bench.results.latency)]
    yield "plots", "Pictures of the same figures", [element("div", *_plots(plots), class_="plots")]
    rows = [_match_row(result, example) for example in result.search.examples]
    yield "search", "Searching a gallery with the integer artifact", [_note(_matches_note(result)), *rows]
    steps = [(text(step.name), text(f"{step.seconds:.1f}")) for step in result.steps]
    yield (
        "steps",
        "What was done",
        [table("step-times", text("Time of each step."), headings("Step", "Seconds"), steps)],
    )


def _note(words: str) -> Html:
    return paragraph(text(words), class_="muted")


def _summary(result: DemoResult) -> str:
    faces = "faces that EFQ drew itself" if result.source.drawn else "real faces"
    teacher = (
        "a small float teacher trained on them" if result.source.drawn else "InsightFace's MobileFaceNet as the teacher"
    )
    return (
        f"On {faces}, with {teacher}: an integer student was distilled, exported to ONNX and measured beside its "
        f"teacher. Every figure on this page was measured in this run, which took {result.seconds:.0f} s."
    )


def _tiles(result: DemoResult) -> Html:
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
    found = (element("div", element("b", text(b)), element("span", text(w)), class_="tile") for b, w in tiles)
    return element("div", *found, class_="tiles")


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
    return (
        f"{drawn}Distilled on {data['images']:,} images of {data['identities']:,} people; measured on {pairs.images:,} "
        f"images of {pairs.identities:,} others, some of whom are shown here."
    )


def _accuracy_note(result: DemoResult) -> str:
    pairs, folds = result.measurement.networks[0].all_pairs, result.measurement.networks[0].folds
    return (
        f"TAR@FAR over all pairs of the {pairs.images:,} images ({pairs.genuine_pairs:,} genuine, "
        f"{pairs.impostor_pairs:,} impostor), ten-fold accuracy on {folds.pairs:,} listed pairs, in percent; below "
        "each figure its 95 % bootstrap interval, and the difference to the teacher with its own. "
        "Cosine: of the embeddings to the teacher's, mean and lowest."
    )


def _accuracy_table(result: DemoResult) -> Html:
    networks = result.measurement.networks
    fars = [row.far for row in networks[0].all_pairs.rows if row.enough_impostors]
    header = headings("Network", "Ten-fold accuracy, %", *[f"TAR@{far_name(far)}, %" for far in fars], "Cosine")
    caption = text("Accuracy of the teacher, of its integer student and of the artifact.")
    return table("accuracy-figures", caption, header, [_accuracy_row(row, fars) for row in networks])


def _accuracy_row(row: NetworkMeasurement, fars: Sequence[float]) -> list[Html]:
    show_difference = row.kind != "teacher"
    cells = [
        text(NAMES[row.kind]),
        _estimate(row.folds.accuracy, row.folds.difference if show_difference else None),
    ]
    for point in row.all_pairs.rows:
        if point.far in fars:
            cells.append(_estimate(point.tar, point.difference if show_difference else None))
    lowest = small(text(f"lowest {row.cosine_min:.4f}"))
    cells.append(join([text(f"{row.cosine_mean:.4f}"), lowest]) if show_difference else text("1"))
    return cells


def _estimate(value: Estimate, difference: Estimate | None) -> Html:
    lines = []
    if value.low is not None and value.high is not None:
        lines.append(f"{100 * value.low:.2f} to {100 * value.high:.2f}")
    if difference is not None and difference.low is not None and difference.high is not None:
        low, high = 100 * difference.low, 100 * difference.high
        lines.append(f"{100 * difference.value:+.2f} ({low:+.2f} to {high:+.2f})")
    return join([text(f"{100 * value.value:.2f}"), small(*map(text, lines))])


def _latency_table(setting: LatencySetting) -> Html:
    name = f"Batch {setting.batch}, {setting.threads} thread{'s' if setting.threads > 1 else ''}"
    header = headings("Network", "p50, ms", "p95, ms", "p99, ms", "Images/s", "Speed-up", "Quartiles")
    rows = [
        [
            text(cell)
            for cell in (
                row.network,
                f"{row.p50_ms:.2f}",
                f"{row.p95_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.images_per_second:.0f}",
                f"{row.speedup:.2f} x",
                f"{row.speedup_quartiles[0]:.2f} to {row.speedup_quartiles[1]:.2f}",
            )
        ]
        for row in setting.networks
    ]
    return table(f"latency-batch{setting.batch}-threads{setting.threads}", text(f"{name}."), header, rows)


def _plots(folder: Path) -> list[Html]:
    """The benchmark's pictures: the accuracy ones, then latency by batch size."""
    found = sorted(folder.glob("*.png"), key=lambda path: (path.stem.startswith("latency"), len(path.stem), path.stem))
    return [element("img", alt=f"Plot: {path.stem.replace('_', ' ')}", src=png_uri(path)) for path in found]


def _matches_note(result: DemoResult) -> str:
    search = result.search
    return (
        f"The gallery is one image of each of {search.gallery:,} people; left of the line a probe, right of it the "
        "gallery images most like it, with their cosine. Framed in green is the same person, in broken red another one "
        f"above the threshold for FAR={far_name(_far(result)[0])}. The probes were drawn at random; of all "
        f"{search.probes:,} probes {100 * search.rank_one:.1f} % find their person first."
    )


def _match_row(result: DemoResult, example: Search) -> Html:
    images, compared = result.measurement.faces.faces.images, result.measurement.faces.compared
    threshold = _far(result)[1]
    figures = [_face("probe", "probe", jpeg_uri(images[compared[example.probe]]), "probe")]
    for match in example.matches:
        kind = "same" if match.same else "accepted" if match.similarity >= threshold else "other"
        said = {"same": "same person", "accepted": "another person, accepted", "other": "another person"}[kind]
        picture = jpeg_uri(images[compared[match.image]])
        figures.append(_face(kind, said, picture, f"{match.similarity:.3f}"))
    name = "A probe and the gallery images most like it"
    return element("div", *figures, class_="match", role="group", tabindex=0, aria_label=name)


def _face(kind: str, said: str, picture: str, caption: str) -> Html:
    return element("figure", element("img", alt=said, src=picture), element("figcaption", text(caption)), class_=kind)


def _far(result: DemoResult) -> tuple[float, float]:
    """The FAR nearest to 1e-3 that the artifact was measured at, and its threshold."""
    rows = result.measurement.networks[-1].all_pairs.rows
    row = min(rows, key=lambda row: abs(np.log10(row.far) + 3))
    return row.far, row.threshold


def _footer(result: DemoResult) -> str:
    machine = result.bench.results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    said = (
        f"{result.command} · {machine.cpu}, {machine.cpu_class}, {machine.cores} cores · {machine.system} · {versions}"
    )
    return f"{said} · {result.bench.results.created}"
