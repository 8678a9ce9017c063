"""The options on a teacher that every command which takes one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from efq.runtime.commands.options import TEXT

Decorated = Callable[..., Any]


def teacher_options(command: Decorated) -> Decorated:
    """`--teacher-input` and `--accept-teacher`."""
    accept = click.option(
        "--accept-teacher",
        is_flag=True,
        help="Go on with a teacher that does not tell people apart, or would do so better with another input.",
    )
    return teacher_input_option(accept(command))


def teacher_input_option(command: Decorated) -> Decorated:
    """`--teacher-input`, for commands that measure a teacher as it is."""
    option = click.option(
        "--teacher-input",
        type=TEXT,
        metavar="INPUT",
        help="What the teacher was trained on, where that is not what its network is known for: rgb, bgr or "
        "gray, a normalization (-1..1, 0..1, imagenet, 0..255, -127.5..127.5 or MEAN/STD), a size HEIGHTxWIDTH, a "
        "landmark template, or several: bgr,0..1,160x160.",
    )
    return option(command)
