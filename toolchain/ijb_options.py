"""The options for IJB-B and IJB-C of `efq-evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from efq.runtime.commands.options import PATH, TEXT, refuse_unused
from efq.toolchain.evaluation.protocols.ijb.mode import DEFAULT_MODE

Decorated = Callable[..., Any]

_OF_FACES = (
    *("root", "listing", "identity_level", "pair_files", "flip", "resize", "resamples", "thresholds", "search"),
)


def ijb_options(command: Decorated) -> Decorated:
    """`--ijb` and `--ijb-mode`."""
    folder = click.option(
        "--ijb", type=PATH, help="Folder of IJB-B or IJB-C with meta/ and loose_crop/, instead of --faces."
    )
    mode = click.option(
        "--ijb-mode",
        type=TEXT,
        default=DEFAULT_MODE,
        show_default=True,
        help="N0 or N1, D0 or D1, F0 to F2: whether lengths of features and scores of the detector weigh images, and "
        "whether mirror images are appended (F1) or added (F2).",
    )
    return folder(mode(command))


def refuse_unused_with_ijb(ijb: Path | None) -> None:
    """Raise UsageError for an option that does nothing with --ijb, or without it."""
    if ijb is None:
        refuse_unused(("ijb_mode",), "without --ijb")
    else:
        refuse_unused(_OF_FACES, "with --ijb, which says what is compared (mirror images: --ijb-mode)")
