"""The pictures of a report: ROC, cosine to the teacher, latency. Each network keeps its colour in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.accuracy.parity import Curve
from efq.benchmarks.timing.latency import Latency, LatencySetting
from efq.runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinguishable with every common colour blindness; black is the reference's.
_REFERENCE_COLOUR = "#000000"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F")
_DASHES = ("-", "--", "-.", ":")

# 1 - cosine
_COSINE_TICKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def colours(networks: Sequence[str], *, reference: str) -> dict[str, str]:
    """A colour for each network, the reference black. With over eight others the colours repeat."""
    others = [name for name in networks if name != reference]
    return {reference: _REFERENCE_COLOUR} | {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(others)}


def plot_roc(curves: Mapping[str, Curve], path: Path, *, colour: Mapping[str, str]) -> None:
    """Draw TAR (in percent) over FAR on a logarithmic axis; see `Curve`."""
    figure, axes = new_figure(8.0, 4.8)
    for number, (name, (far, tar)) in enumerate(curves.items()):
        axes.plot(far, tar * 100, label=name, color=colour[name], linestyle=_DASHES[number % 4], linewidth=1.8)
    axes.set_xscale("log")
    axes.set_xlabel("false accept rate (FAR)")
    axes.set_ylabel("true accept rate (TAR), %")
    axes.set_title("ROC over all pairs")
    ends = min(far[0] for far, _ in curves.values()), max(far[-1] for far, _ in curves.values())
    if ends[0] < ends[1]:
        axes.set_xlim(*ends)
    axes.grid(True, which="major", color="#DDDDDD")
    axes.legend(loc="lower right", frameon=False)
    save_figure(figure, path)


def plot_cosines(cosines: Mapping[str, NDArray[np.float32]], path: Path, *, colour: Mapping[str, str]) -> None:
    """Draw the distribution over images of each network's cosine to the teacher.

    The axis is logarithmic in 1 - cosine, so that 0.999 and 0.99 are as far apart as 0.99 and 0.9.
    """
    distances = {name: np.clip(1.0 - values.astype(np.float64), 1e-7, 2.0) for name, values in cosines.items()}
    pooled = np.concatenate(list(distances.values()))
    edges = np.geomspace(pooled.min() * 0.8, pooled.max() * 1.25, 60).tolist()
    figure, axes = new_figure(8.0, 4.6)
    for name, values in distances.items():
        share = np.full(len(values), 100.0 / len(values))
        label = f"{name} (median {np.median(cosines[name]):.4f})"
        axes.hist(values, edges, weights=share, histtype="stepfilled", color=colour[name], alpha=0.18)
        axes.hist(values, edges, weights=share, histtype="step", color=colour[name], linewidth=1.6, label=label)
    axes.set_xscale("log")
    axes.set_xlim(edges[-1], edges[0])
    ticks = [distance for distance in _COSINE_TICKS if edges[0] <= distance <= edges[-1]]
    axes.set_xticks(ticks, [f"{1 - tick:.7g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("cosine to the teacher's embedding of the same image (log of 1 - cosine)")
    axes.set_ylabel("images, %")
    axes.set_title("Agreement with the teacher, image by image")
    axes.margins(y=0.08)
    axes.grid(True, axis="x", color="#DDDDDD")
    _legend_above(figure, axes)
    save_figure(figure, path)


def plot_latency(latencies: Sequence[Latency], path: Path, *, title: str, colour: Mapping[str, str]) -> None:
    """Draw a bar to p50 with a whisker to p95 for each network, fastest first, labelled with the speed-up."""
    ordered = sorted(latencies, key=lambda latency: latency.p50_ms)
    positions = range(len(ordered))
    middle = np.array([latency.p50_ms for latency in ordered])
    high = np.array([latency.p95_ms for latency in ordered])
    figure, axes = new_figure(8.0, 1.3 + 0.42 * len(ordered))
    axes.barh(positions, middle, height=0.62, color=[colour[latency.network] for latency in ordered])
    whiskers = np.stack([np.zeros_like(middle), high - middle])
    axes.errorbar(middle, positions, xerr=whiskers, fmt="none", ecolor="#555555", elinewidth=1.1, capsize=3)
    for position, latency in zip(positions, ordered, strict=True):
        text = f"  {latency.p50_ms:.2f} ms, {latency.speedup:.2f} x"
        axes.text(max(latency.p95_ms, latency.p50_ms), position, text, va="center", fontsize=9)
    axes.set_yticks(positions, [latency.network for latency in ordered])
    axes.invert_yaxis()
    axes.set_xlim(0, high.max() * 1.38)
    axes.set_xlabel("ms a batch (bar p50, whisker p95); speed-up over the teacher", fontsize=9)
    axes.set_title(title)
    axes.grid(True, axis="x", color="#DDDDDD")
    save_figure(figure, path)


def plot_throughput(settings: Sequence[LatencySetting], path: Path, *, colour: Mapping[str, str]) -> None:
    """Draw images a second over the batch size for each network, a line style for each number of threads."""
    figure, axes = new_figure(8.0, 5.2)
    threads = sorted({setting.threads for setting in settings})
    rates: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for setting in settings:
        for latency in setting.networks:
            rates.setdefault((latency.network, setting.threads), []).append((setting.batch, latency.images_per_second))
    for (name, count), points in rates.items():
        batches, values = zip(*sorted(points), strict=True)
        label = f"{name}, {count} thread{'s' if count > 1 else ''}"
        axes.plot(batches, values, _DASHES[threads.index(count) % 4], marker="o", color=colour[name], label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({setting.batch for setting in settings})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("batch size")
    axes.set_ylabel("images/s")
    axes.set_title("Throughput")
    axes.grid(True, color="#DDDDDD")
    _legend_above(figure, axes)
    save_figure(figure, path)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of that size in inches. Raises MissingDependencyError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        message = "plots need matplotlib; install it with: pip install 'efq[train]'"
        raise MissingDependencyError(message) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _legend_above(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
