"""The option on faces that every command with --faces or --calibrate takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from efq.toolchain.data.identities import IdentityLevel

Command = TypeVar("Command", bound=Callable[..., Any])


def identity_level_option(command: Command) -> Command:
    """Add --identity-level, given to the command as `identity_level`."""
    return click.option(
        "--identity-level",
        callback=_identity_level,
        metavar="N|leaf",
        help="Which folder names the person: the N-th below the faces, or leaf, the one that holds the image.  "
        "[default: leaf, where the folders can be read in no other way]",
    )(command)


def _identity_level(ctx: click.Context, param: click.Parameter, value: str | None) -> IdentityLevel | None:
    if value is None:
        return None
    if value == "leaf":
        return "leaf"
    if not re.fullmatch(r"[1-9][0-9]?", value):
        message = f"expected 1, 2, ... or leaf, found {value!r}"
        raise click.BadParameter(message, ctx, param)
    return int(value)
