"""The options of efq-bench that certify an artifact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from efq.runtime.commands.options import PATH, FiniteFloat, refuse_unused

Command = TypeVar("Command", bound=Callable[..., Any])

_POINTS = FiniteFloat(0, 100)

_OPTIONS = (
    click.option("--certify", is_flag=True, help="Write a certificate of what each DIR costs beside the teacher."),
    click.option(
        "--deployed-threshold",
        type=FiniteFloat(-1, 1),
        metavar="COSINE",
        help="With --certify: the teacher's threshold in use.  [default: its own at an FMR of 1e-4]",
    ),
    click.option("--cohorts", type=PATH, help="With --certify: a table of identities or paths and their cohorts."),
    click.option(
        "--max-drop",
        type=_POINTS,
        metavar="POINTS",
        help="With --certify: fail (exit 3) if the student's TAR is more points below the teacher's.",
    ),
    click.option(
        "--max-flips",
        type=_POINTS,
        metavar="POINTS",
        help="With --certify: fail (exit 3) if the verdict on more of a hundred genuine pairs changes, re-mapped.",
    ),
    click.option(
        "--max-cohort-gap",
        type=_POINTS,
        metavar="POINTS",
        help="With --cohorts: fail (exit 3) if a cohort's FNMR rises by more points over the teacher's.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertifyOptions:
    """What is certified and asked for. deployed_threshold: a cosine. cohorts: a file. Gates: in points of a hundred."""

    deployed_threshold: float | None = None
    cohorts: Path | None = None
    max_drop: float | None = None
    max_flips: float | None = None
    max_cohort_gap: float | None = None


def certify_options(command: Command) -> Command:
    """Add the options to a click command, which gets them as keyword arguments for `certify_options_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def certify_options_of(*, certify: bool, faces: Path | None, **values: Any) -> CertifyOptions | None:
    """What the options say, None without --certify. Raises UsageError for options that would have no effect."""
    if faces is None:
        refuse_unused(("certify",), "without faces to compare on (--faces)")
    if not certify:
        refuse_unused(values.keys(), "without --certify")
        return None
    if values["cohorts"] is None:
        refuse_unused(("max_cohort_gap",), "without --cohorts")
    return CertifyOptions(**values)
