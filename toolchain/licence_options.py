"""The options on licences that every command which makes a student or an artifact has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from efq.runtime.commands.options import TEXT

Decorated = Callable[..., Any]


def licence_options(command: Decorated) -> Decorated:
    """`--teacher-licence`, `--data-licence` and `--data-name`: of what a student is made of."""
    options = (
        click.option(
            "--teacher-licence",
            type=TEXT,
            metavar="LICENCE",
            help="Licence of the teacher's weights, an SPDX identifier or a line of text, where that is not known; a "
            "known one is only widened with --licence-reason.",
        ),
        click.option(
            "--data-licence",
            type=TEXT,
            metavar="LICENCE",
            default="unknown",
            show_default=True,
            help="Licence of the faces.",
        ),
        click.option(
            "--data-name",
            type=TEXT,
            metavar="NAME",
            help="Name of the faces' data set: its id, where the Hub has it.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def label_options(command: Decorated) -> Decorated:
    """`--licence` and `--licence-reason`."""
    licence = click.option(
        "--licence",
        type=TEXT,
        metavar="LICENCE",
        help="Licence of what is made; that of teacher and faces when left out. One that drops what they ask needs a "
        "reason.",
    )
    reason = click.option(
        "--licence-reason",
        type=TEXT,
        metavar="TEXT",
        help="Why a licence may be wider than what is known of teacher and faces; kept, and printed on the model card.",
    )
    return licence(reason(command))
