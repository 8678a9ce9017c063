"""The options of efq-export that lay an artifact out for servers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from efq.export.serving.kind import ServingKind, ServingOptions
from efq.export.serving.table import KINDS, check_options, interface_of
from efq.runtime.commands.options import PATH, TEXT
from efq.runtime.errors import UsageError
from efq.runtime.faces.interface import Interface


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serving:
    """The servers to write for, each with its folder."""

    places: tuple[tuple[ServingKind, Path], ...]
    options: ServingOptions

    @property
    def interface(self) -> Interface | None:
        """The surface that they feed, None for any."""
        return interface_of(tuple(kind for kind, _ in self.places))


def serving_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a click command: one a server, and what they take."""
    options = [
        click.option(f"--{kind.name}", type=PATH, metavar="DIR", help=f"Write for {kind.title}, into {kind.folder}.")
        for kind in KINDS.values()
    ]
    options += [
        click.option("--serve-as", type=TEXT, help="With a server: the model's name there.  [default: the artifact's]"),
        click.option("--detector", type=PATH, help="With --insightface, --insightface-server, --immich: SCRFD's ONNX."),
        click.option(
            "--plan",
            "plans",
            type=PATH,
            multiple=True,
            help="With --triton: an artifact of the same model with another GPU's engine; several times.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def serving_of(values: dict[str, Any]) -> Serving:
    """Take the options' values out of `values`. Raises UsageError for those that do not go together."""
    chosen = [(kind, values.pop(kind.name.replace("-", "_"))) for kind in KINDS.values()]
    places = tuple((kind, place) for kind, place in chosen if place is not None)
    options = ServingOptions(
        name=values.pop("serve_as"), detector=values.pop("detector"), others=tuple(values.pop("plans"))
    )
    if not places and options != ServingOptions():
        names = ", ".join(f"--{name}" for name in KINDS)
        message = f"expected a server ({names}) with --serve-as, --detector and --plan, found none: leave them out"
        raise UsageError(message)
    check_options(tuple(kind for kind, _ in places), options)
    return Serving(places=places, options=options)
