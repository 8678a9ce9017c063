"""Tables, JSON and plots of a report, from results written down by hand."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from efq.benchmarks.accuracy.parity import AccuracyResults, NetworkAccuracy, PairParity
from efq.benchmarks.report.plots import colours, plot_cosines, plot_latency, plot_roc
from efq.benchmarks.report.report import to_json, to_markdown, write_report
from efq.benchmarks.report.results import BenchResults, NetworkRecord
from efq.benchmarks.timing.latency import Latency, LatencySetting, summarize
from efq.benchmarks.timing.machine import Machine

NAMES = ("teacher", "student")


def latencies() -> tuple[Latency, ...]:
    return tuple(summarize({"teacher": [0.008] * 20, "student": [0.002] * 20}, reference="teacher", batch=1))


def accuracy() -> AccuracyResults:
    return AccuracyResults(
        images=100,
        identities=10,
        genuine_pairs=1000,
        impostor_pairs=20000,
        networks=tuple(
            NetworkAccuracy(network=name, tar={"1e-3": tar}, thresholds={"1e-3": 0.3}, ten_fold={"lfw": 0.99})
            for name, tar in zip(NAMES, (0.9876, 0.9712), strict=True)
        ),
        parity=(
            PairParity(
                reference="teacher",
                network="student",
                cosine_mean=0.995,
                cosine_p1=0.98,
                cosine_min=0.97,
                decision_far=1e-3,
                equal_decisions=0.9999,
                cosine_different=0.0123,
            ),
        ),
    )


@pytest.fixture
def results() -> BenchResults:
    return BenchResults(
        command="efq-bench model -o out",
        created="2026-01-01",
        machine=Machine(
            cpu="Example",
            architecture="x86_64",
            cores=2,
            isa=("avx2",),
            cpu_class="no VNNI",
            memory_gib=8.0,
            system="Linux",
            python="3.12",
            packages={"onnxruntime": "1.32"},
        ),
        reference="teacher",
        faces="100 images",
        networks=tuple(
            NetworkRecord(
                name=name,
                description="a network",
                file_bytes=size,
                size_ratio=size / 4_000_000,
                is_artifact=name == "student",
                multiply_adds=100_000_000 if name == "student" else None,
            )
            for name, size in zip(NAMES, (4_000_000, 1_000_000), strict=True)
        ),
        latency=(LatencySetting(threads=1, batch=1, networks=latencies()),),
        accuracy=accuracy(),
        footprints=(),
        floor=None,
        notes=("a note",),
    )


def cells(markdown: str, first: str) -> list[list[str]]:
    """The cells of every table row that begins with `first`."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]
    return [row for row in rows if row[0] == first]


def test_markdown_tables(results: BenchResults) -> None:
    latency, size, tar = cells(to_markdown(results), "student")
    assert latency == ["student", "4.00 x", "4.00 to 4.00", "2.00", "2.00", "2.00", "500.0", "20"]
    assert size[:3] == ["student", "25.0 %", "1.00"]
    assert tar == ["student", "97.12", "99.00"]
    parity = cells(to_markdown(results), "teacher")[-1]
    assert parity == ["teacher", "student", "0.99500", "0.98000", "0.97000", "0.01230", "99.9900 %"]
    for expected in ("efq-bench model -o out", "Example", "no VNNI", "onnxruntime 1.32", "- a note", "FAR 1e-3"):
        assert expected in to_markdown(results)


def test_the_report_leads_to_the_pages_of_certificates(results: BenchResults) -> None:
    report = to_markdown(results, certificates={"certificate-1.html": "one", "certificate-2.html": "a](b) <c>"})
    assert "[one](certificate-1.html)" in report
    assert "](certificate-2.html)" in report
    assert "a](b)" not in report
    assert ".html" not in to_markdown(results)


def test_json_holds_every_figure(results: BenchResults) -> None:
    values = json.loads(to_json(results))
    assert values["schema_version"] == 3
    assert values["latency"][0]["networks"][1]["speedup"] == pytest.approx(4.0)
    assert values["accuracy"]["parity"][0]["equal_decisions"] == 0.9999
    assert values["machine"]["isa"] == ["avx2"]


def test_report_folder_and_pictures(results: BenchResults, tmp_path: Path) -> None:
    far = np.geomspace(1e-4, 1e-2, 5)
    generator = np.random.default_rng(0)
    write_report(
        tmp_path,
        results,
        curves={name: (far, np.linspace(0.9, 1, 5)) for name in NAMES},
        cosines={"student": (1 - generator.uniform(0, 0.1, 50)).astype(np.float32)},
    )
    pictures = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert pictures == ["cosine.png", "latency_batch1_threads1.png", "pareto.png", "roc.png"]
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert all(f"(plots/{name})" in markdown for name in pictures)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["reference"] == "teacher"


def test_plots_show_each_network_in_its_own_colour(tmp_path: Path) -> None:
    colour = colours(["student", "teacher", "peer"], reference="teacher")
    assert colour["teacher"] == "#000000"
    assert len(set(colour.values())) == 3
    far = np.geomspace(1e-4, 1e-2, 5)
    plot_roc({name: (far, np.full(5, 0.9 + i / 50)) for i, name in enumerate(NAMES)}, tmp_path / "a.png", colour=colour)
    plot_cosines({"student": np.linspace(0.9, 0.99, 50, dtype=np.float32)}, tmp_path / "b.png", colour=colour)
    plot_latency(latencies(), tmp_path / "c.png", title="title", colour=colour)
    for name in ("a.png", "b.png", "c.png"):
        picture = cv2.imread(str(tmp_path / name)).reshape(-1, 3)
        blue = int(colour["student"][5:], 16), int(colour["student"][3:5], 16), int(colour["student"][1:3], 16)
        assert (picture == np.array(blue)).all(axis=1).sum() > 50


def test_a_plot_of_identical_embeddings_is_drawn(tmp_path: Path) -> None:
    plot_cosines({"student": np.ones(10, np.float32)}, tmp_path / "ones.png", colour={"student": "#0072B2"})
    assert (tmp_path / "ones.png").stat().st_size > 0
