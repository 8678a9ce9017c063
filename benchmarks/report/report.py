"""Writes a benchmark as report.md, report.json and plots, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.accuracy.parity import AccuracyResults, Curve
from efq.benchmarks.report.gpu_sections import HOST_TO_HOST, gpu_sections
from efq.benchmarks.report.markdown import table
from efq.benchmarks.report.pareto import plot_pareto, points_of
from efq.benchmarks.report.plots import (
    colours,
    plot_cosines,
    plot_latency,
    plot_roc,
    plot_throughput,
)
from efq.benchmarks.report.results import BenchResults
from efq.benchmarks.report.sections import (
    network_sections,
    setting_title,
    standing_sections,
    throughput_sections,
)
from efq.benchmarks.timing.latency import SETTLE_SECONDS, SPIN_SECONDS, LatencySetting
from efq.benchmarks.timing.machine import Machine
from efq.export.artifact.markdown import plain
from efq.toolchain.evaluation.figures.rates import far_name

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"
PLOTS_NAME = "plots"


def write_report(
    folder: Path,
    results: BenchResults,
    *,
    curves: Mapping[str, Curve],
    cosines: Mapping[str, NDArray[np.float32]],
    certificates: Mapping[str, str] | None = None,
) -> None:
    """Write everything into `folder`, which exists and is empty (see `efq.runtime.files.atomic_directory`).

    `curves`: ROC by network; `cosines`: each network's cosine to the teacher by image. Either may be empty, and then
    has no plot. `certificates`: the artifact that each certificate's page in the folder is about, by file name.
    """
    plots = _write_plots(folder / PLOTS_NAME, results, curves, cosines)
    text = to_markdown(results, plots=[f"{PLOTS_NAME}/{name}" for name in plots], certificates=certificates or {})
    (folder / MARKDOWN_NAME).write_text(text, encoding="utf-8")
    (folder / JSON_NAME).write_text(to_json(results), encoding="utf-8")


def to_json(results: BenchResults) -> str:
    """The results as one JSON object."""
    return json.dumps(results.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(
    results: BenchResults, *, plots: Sequence[str] = (), certificates: Mapping[str, str] | None = None
) -> str:
    """The results as Markdown whose tables also read well as plain text.

    `plots` are the pictures' relative paths, `certificates` as in `write_report`.
    """
    explained = _LATENCY_EXPLAINED if results.gpu is None else HOST_TO_HOST
    sections = [f"# {results.title}", *_setting(results), *standing_sections(results)]
    sections += ["## Latency", explained.format(results.reference)]
    for setting in results.latency:
        sections += [f"### {setting_title(setting)}", _latency_table(setting)]
    if results.gpu is not None:
        sections += gpu_sections(results.gpu)
    sections += [*throughput_sections(results), "## Networks", *network_sections(results)]
    if results.accuracy is not None:
        sections += ["## Accuracy", *_accuracy(results.accuracy, results.reference)]
    if certificates:
        links = "\n".join(f"- [{plain(artifact)}]({page})" for page, artifact in certificates.items())
        sections += ["## Certificates", links]
    if results.notes:
        sections += ["## Notes", "\n".join(f"- {note}" for note in results.notes)]
    sections += [f"![{Path(path).stem}]({path})" for path in plots]
    return "\n\n".join(sections) + "\n"


_LATENCY_EXPLAINED = (
    "All networks in turn in one run, the order rotated every round, other images every round; a timed call follows an "
    f"untimed one, or with several threads {SETTLE_SECONDS * 1e3:.0f} ms of them after {SPIN_SECONDS * 1e3:.0f} ms "
    "without any, so that weights and code are in the caches, threads awake and those of others asleep. "
    "Speed-up: median over rounds of the time of {} divided by the network's own time in the same round, with the "
    "quartiles of that ratio. Times are milliseconds a batch. The float networks get images that are normalized "
    "already; artifacts take uint8 images, normalize inside and return unit-length embeddings."
)


def _setting(results: BenchResults) -> list[str]:
    return [
        f"```\n{results.command}\n```",
        table(("", ""), [*_machine_rows(results.machine), ("faces", results.faces), ("date", results.created)]),
    ]


def _machine_rows(machine: Machine) -> list[tuple[str, str]]:
    isa = "not reported by this system" if machine.isa is None else ", ".join(machine.isa) or "none of those looked for"
    memory = "unknown" if machine.memory_gib is None else f"{machine.memory_gib:g} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return [
        ("processor", f"{machine.cpu} ({machine.architecture}), {machine.cores} logical cores usable"),
        ("instruction sets", isa),
        ("class", machine.cpu_class),
        ("memory", memory),
        ("system", f"{machine.system}, Python {machine.python}"),
        ("packages", versions),
    ]


def _latency_table(setting: LatencySetting) -> str:
    header = ("network", "speed-up", "quartiles", "p50, ms", "p95, ms", "p99, ms", "images/s", "rounds")
    rows = [
        (
            latency.network,
            f"{latency.speedup:.2f} x",
            f"{latency.speedup_quartiles[0]:.2f} to {latency.speedup_quartiles[1]:.2f}",
            f"{latency.p50_ms:.2f}",
            f"{latency.p95_ms:.2f}",
            f"{latency.p99_ms:.2f}",
            f"{latency.images_per_second:.1f}",
            str(latency.rounds),
        )
        for latency in sorted(setting.networks, key=lambda latency: -latency.speedup)
    ]
    return table(header, rows)


def _accuracy(accuracy: AccuracyResults, reference: str) -> list[str]:
    far_names = list(accuracy.networks[0].tar)
    pair_names = list(accuracy.networks[0].ten_fold)
    of_people = f" of {accuracy.identities:,} identities" if accuracy.identities else ""
    measures = ["TAR at each FAR in percent, each network at its own threshold"] if accuracy.identities else []
    measures += ["ten-fold accuracy in percent"] if pair_names else []
    intro = (
        f"{accuracy.images:,} images{of_people}: {accuracy.genuine_pairs:,} genuine and {accuracy.impostor_pairs:,} "
        f"impostor pairs{'' if accuracy.identities else ', as listed'}. {'; '.join(measures)}."
    )
    header = ("network", *[f"TAR@{far}, %" for far in far_names], *[f"{name}, 10-fold, %" for name in pair_names])
    rows = [
        (
            network.network,
            *[f"{network.tar[far] * 100:.2f}" for far in far_names],
            *[f"{network.ten_fold[name] * 100:.2f}" for name in pair_names],
        )
        for network in accuracy.networks
    ]
    if accuracy.chance:
        chances = (f"{float(far) * 100:g}" for far in far_names)
        rows.append(("chance", *chances, *[f"{accuracy.chance[name] * 100:.2f}" for name in pair_names]))
    far = accuracy.parity[0].decision_far if accuracy.parity else None
    parity_intro = "Cosine between two networks' embeddings of the same image, the network's own of different ones" + (
        ("; too few impostor pairs to compare decisions." if accuracy.identities else ".")
        if far is None
        else ", and the share of all pairs on which they decide alike, each at its own threshold for FAR "
        f"{far_name(far)}."
    )
    return [intro, table(header, rows), "### Parity", parity_intro, _parity_table(accuracy, reference)]


def _parity_table(accuracy: AccuracyResults, reference: str) -> str:
    """Every network against the teacher, then the other pairs."""
    ordered = sorted(accuracy.parity, key=lambda pair: pair.reference != reference)
    rows = [
        (
            pair.reference,
            pair.network,
            f"{pair.cosine_mean:.5f}",
            f"{pair.cosine_p1:.5f}",
            f"{pair.cosine_min:.5f}",
            "-" if pair.cosine_different is None else f"{pair.cosine_different:.5f}",
            "-" if pair.equal_decisions is None else f"{pair.equal_decisions * 100:.4f} %",
        )
        for pair in ordered
    ]
    header = ("reference", "network", "cosine mean", "1st percentile", "minimum", "different images", "equal decisions")
    return table(header, rows)


def _write_plots(
    folder: Path,
    results: BenchResults,
    curves: Mapping[str, Curve],
    cosines: Mapping[str, NDArray[np.float32]],
) -> list[str]:
    shown = dict.fromkeys([*(network.name for network in results.networks), *curves])  # torch students are not timed
    colour = colours(list(shown), reference=results.reference)
    names = []
    for setting in results.latency:
        names.append(f"latency_batch{setting.batch}_threads{setting.threads}.png")
        title = f"Latency: {setting_title(setting)}"
        plot_latency(setting.networks, folder / names[-1], title=title, colour=colour)
    if len({setting.batch for setting in results.latency}) > 1:
        names.append("throughput.png")
        plot_throughput(results.latency, folder / names[-1], colour=colour)
    if results.latency and results.accuracy is not None:
        smallest = min(results.latency, key=lambda setting: (setting.batch, setting.threads))
        far, points = points_of(smallest.networks, results.accuracy)
        if points:
            names.append("pareto.png")
            title = f"Accuracy over latency: {setting_title(smallest)}"
            artifacts = {network.name for network in results.networks if network.is_artifact}
            plot_pareto(
                points, folder / names[-1], far=far, title=title, reference=results.reference, artifacts=artifacts
            )
    if curves:
        names.append("roc.png")
        plot_roc(curves, folder / names[-1], colour=colour)
    if cosines:
        names.append("cosine.png")
        plot_cosines(cosines, folder / names[-1], colour=colour)
    return names
