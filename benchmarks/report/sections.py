"""The parts of a report that compare: artifacts with rivals, throughput with threads, networks with each other."""

from __future__ import annotations

from collections.abc import Sequence

from efq.benchmarks.report.markdown import table
from efq.benchmarks.report.results import BenchResults
from efq.benchmarks.report.summary import EQUAL_ACCURACY, Standing, accuracy_of, slower_cases, standings
from efq.benchmarks.timing.latency import LatencySetting
from efq.benchmarks.timing.scaling import Scaling


def setting_title(setting: LatencySetting) -> str:
    """Batch size and threads in words."""
    return f"batch {setting.batch}, {setting.threads} thread{'s' if setting.threads > 1 else ''}"


def standing_sections(results: BenchResults) -> list[str]:
    """Each artifact against the float teacher and its fastest rival, and where it is slower than one."""
    has_rivals = any(not network.is_artifact and network.name != results.reference for network in results.networks)
    if not has_rivals or not any(network.is_artifact for network in results.networks):
        return []
    rows = [
        (setting_title(setting), *_standing_row(results, standing))
        for setting in results.latency
        for standing in standings(results, setting)
    ]
    header = ("setting", "artifact", "TAR@1e-4, %", "against the float teacher", "fastest rival", "against it")
    slower = slower_cases(results)
    sections = ["## Against what a user could pick", _RIVALS.format(EQUAL_ACCURACY * 100), table(header, rows)]
    if not slower:
        return [*sections, "No artifact is slower than a rival."]
    sections.append("\n".join(f"- {case}" for case in slower))
    if all(case.instead is not None for case in slower):
        sections.append("No student is: the faster of its artifacts is nowhere slower than its rival.")
    return sections


def throughput_sections(results: BenchResults) -> list[str]:
    """Images a second of every network at every setting; what more threads bring, network by network."""
    if len(results.latency) < 2:
        return []
    header = ("network", *[setting_title(setting) for setting in results.latency])
    rows = [
        (
            network.name,
            *[
                f"{latency.images_per_second:.1f}"
                for setting in results.latency
                for latency in setting.networks
                if latency.network == network.name
            ],
        )
        for network in results.networks
    ]
    sections = ["## Throughput", "Images a second, from the mean time of a call.", table(header, rows)]
    return sections + _scaling_sections(results)


def network_sections(results: BenchResults) -> list[str]:
    """What each network is, its file, memory and start-up, and each artifact's time over the core's limit."""
    footprints = {footprint.network: footprint for footprint in results.footprints}
    header: Sequence[str] = ("network", "of the teacher", "MB (10^6 bytes)", "what it is")
    rows: list[Sequence[str]] = [
        (network.name, f"{network.size_ratio * 100:.1f} %", f"{network.file_bytes / 1e6:.2f}", network.description)
        for network in results.networks
    ]
    if footprints:
        header = (*header[:3], "peak memory, MiB", "start-up, ms", header[3])
        rows = [
            (
                *row[:3],
                f"{footprints[row[0]].peak_mib:.0f}",
                f"{footprints[row[0]].start_up_ms:.0f}",
                row[3],
            )
            for row in rows
        ]
    sections = [table(header, rows)]
    if footprints:
        sections.insert(0, _FOOTPRINT)
    return sections + _floor_sections(results)


_RIVALS = (
    "Median times. A rival is an alternative whose TAR at FAR 1e-4 is at most {:g} point below the artifact's, or "
    "higher; where accuracy was not measured, every alternative. Above 1 x the artifact is faster."
)
_SCALING = (
    "Time on the least threads, {}, divided by that on more, the two in turn, each network by itself: median over "
    "rounds, with quartiles."
)
_FOOTPRINT = (
    "Memory and start-up are those of fresh processes that open one network on one thread and embed one face: largest "
    "resident memory, Python and NumPy included; time from opening, the runtime not yet imported, to the embedding "
    "(torch.compile: with compiling)."
)


def _standing_row(results: BenchResults, standing: Standing) -> tuple[str, ...]:
    accuracy = accuracy_of(results, standing.artifact)
    return (
        standing.artifact,
        "-" if accuracy is None else f"{accuracy * 100:.2f}",
        f"{standing.over_teacher:.2f} x",
        standing.rival or "none",
        "-" if standing.over_rival is None else f"{standing.over_rival:.2f} x",
    )


def _scaling_sections(results: BenchResults) -> list[str]:
    if not results.scaling:
        return []
    columns = list(dict.fromkeys((scaling.batch, scaling.threads) for scaling in results.scaling))
    found = {(scaling.network, scaling.batch, scaling.threads): scaling for scaling in results.scaling}
    base = results.scaling[0].base_threads
    header = ("network", *[f"batch {batch}, {threads} threads" for batch, threads in columns])
    rows = [
        (network, *[_factor(found[network, *column]) for column in columns])
        for network in dict.fromkeys(scaling.network for scaling in results.scaling)
    ]
    return [
        "### From one thread to more" if base == 1 else "### More threads",
        _SCALING.format(base),
        table(header, rows),
    ]


def _factor(scaling: Scaling) -> str:
    return f"{scaling.factor:.2f} x ({scaling.quartiles[0]:.2f} to {scaling.quartiles[1]:.2f})"


def _floor_sections(results: BenchResults) -> list[str]:
    first = next((setting for setting in results.latency if (setting.batch, setting.threads) == (1, 1)), None)
    counted = [network for network in results.networks if network.multiply_adds is not None]
    if results.floor is None or first is None or not counted:
        return []
    times = {latency.network: latency.p50_ms for latency in first.networks}
    rows = []
    for network in counted:
        assert network.multiply_adds is not None
        floor = results.floor.milliseconds(network.multiply_adds)
        rows.append(
            (
                network.name,
                f"{network.multiply_adds / 1e6:.1f}",
                f"{floor:.2f}",
                f"{times[network.name]:.2f}",
                f"{times[network.name] / floor:.2f} x",
            )
        )
    header = ("artifact", "10^6 multiply-adds", "floor, ms", "p50, ms", "over the floor")
    rate = f"{results.floor.multiply_adds_per_ns:.1f} 8-bit multiply-adds a nanosecond ({results.floor.kernel})"
    return ["### The core's limit", f"One core did at most {rate}.", table(header, rows)]
