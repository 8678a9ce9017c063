"""What was measured of services under load, and its tables."""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from efq.benchmarks.report.markdown import table
from efq.benchmarks.serving.loops import Load


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One load on one variant in one round.

    kind: of its requests. loop: "closed" with so many clients as `load` says, or "open" with so many requests a second.
    rate: requests a second that were answered. p50 and p99: ms. late: ms that the generator's 99 % sent a request after
    its time at most, 0 of a closed loop. cpu_ms: of the service's processor, for one request.
    """

    round: int
    variant: str
    kind: str
    loop: str
    load: float
    rate: float
    p50: float
    p99: float
    late: float
    errors: int
    cpu_ms: float

    @classmethod
    def of(
        cls, found: Load, cpu_seconds: float, *, round: int, variant: str, kind: str, loop: str, load: float
    ) -> Measured:
        """From what came of a load, for which the service computed so many seconds."""
        late = sorted(found.late)
        return cls(
            round=round,
            variant=variant,
            kind=kind,
            loop=loop,
            load=load,
            rate=found.rate,
            p50=found.milliseconds(0.5),
            p99=found.milliseconds(0.99),
            late=1e3 * float(late[int(0.99 * (len(late) - 1))]) if late else 0.0,
            errors=found.errors,
            cpu_ms=1e3 * cpu_seconds / max(1, found.answers),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """measured: all rounds. bare: of the embedder alone, by images a call, images a second of each round. resident:
    bytes of each variant before and after. facts: of the machine and how it was measured, plain values."""

    measured: Sequence[Measured]
    bare: Mapping[int, Sequence[float]]
    bare_cpu_ms: Mapping[int, Sequence[float]]
    resident: Mapping[str, tuple[int, int]]
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)

    def saturated(self, variant: str) -> list[float]:
        """The most requests to infer a second of a closed loop, of each round."""
        rounds: dict[int, float] = {}
        for one in self.measured:
            if (one.variant, one.kind, one.loop) == (variant, "infer", "closed"):
                rounds[one.round] = max(one.rate, rounds.get(one.round, 0.0))
        return list(rounds.values())

    def markdown(self) -> str:
        """Tables of both loops, and the ratios."""
        parts = [self._loop("closed", "clients"), self._loop("open", "requests/s sent"), self._summary()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _loop(self, loop: str, what: str) -> str:
        rows = []
        for variant, kind in dict.fromkeys((one.variant, one.kind) for one in self.measured if one.loop == loop):
            for load, group in _by(self.measured, variant, kind, loop).items():
                rows.append([variant, kind, f"{load:g}", *_cells(group)])
        header = ["service", "request", what, "answered/s", "p50 ms", "p99 ms", "CPU ms", "errors"]
        return table(header, rows) if rows else ""

    def _summary(self) -> str:
        variants = list(dict.fromkeys(one.variant for one in self.measured))
        last = self.saturated(variants[-1])
        rows = [
            [
                f"the embedder, {batch} a call",
                f"{statistics.median(rates):.0f}",
                f"{statistics.median(cpu):.2f}",
                *[""] * 3,
            ]
            for (batch, rates), cpu in zip(self.bare.items(), self.bare_cpu_ms.values(), strict=True)
        ]
        for variant in variants:
            most = self.saturated(variant)
            over = " ".join(f"{_ratio(rates, most) - 1:+.0%}" for rates in self.bare.values())
            before, after = self.resident.get(variant, (0, 0))
            cells = [variant, f"{statistics.median(most):.0f}", f"{self._least_cpu(variant):.2f}", over]
            rows.append([*cells, f"{_ratio(most, last):.2f} x", f"{before / 1e6:.0f} {after / 1e6:.0f}"])
        calls = " ".join(str(batch) for batch in self.bare)
        header = [
            *("", "most a second", "CPU ms", f"time over the embedder's ({calls} a call)"),
            *(f"to {variants[-1]}", "resident MB"),
        ]
        return table(header, rows)

    def _least_cpu(self, variant: str) -> float:
        """Of the loads of a closed loop, the one of which a request took least; median of the rounds."""
        groups = _by(self.measured, variant, "infer", "closed").values()
        return min((statistics.median(one.cpu_ms for one in group) for group in groups), default=0.0)


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of the rounds' ratios, whose two sides neighbours disturbed alike."""
    return statistics.median(a / b if b else 0.0 for a, b in zip(one, other, strict=True))


def _by(measured: Iterable[Measured], variant: str, kind: str, loop: str) -> dict[float, list[Measured]]:
    """The rounds of each load."""
    found: dict[float, list[Measured]] = collections.defaultdict(list)
    for one in measured:
        if (one.variant, one.kind, one.loop) == (variant, kind, loop):
            found[one.load].append(one)
    return dict(found)


def _cells(group: Sequence[Measured]) -> list[str]:
    middle = {name: statistics.median(getattr(one, name) for one in group) for name in ("rate", "p50", "p99", "cpu_ms")}
    errors = sum(one.errors for one in group)
    return [
        f"{middle['rate']:.0f}",
        f"{middle['p50']:.1f}",
        f"{middle['p99']:.1f}",
        f"{middle['cpu_ms']:.2f}",
        str(errors),
    ]
