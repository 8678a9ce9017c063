"""efq-index: an approximate index for a gallery in PostgreSQL, and what it costs."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.runtime.gallery.index_command")

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from efq.runtime.artifact.folder import Artifact
from efq.runtime.commands.options import PATH, FiniteFloat, Text, refuse_unused
from efq.runtime.console import efq_command, log
from efq.runtime.errors import ParityError, UsageError
from efq.runtime.gallery.stores.open import open_gallery

if TYPE_CHECKING:
    from efq.runtime.gallery.stores.postgresql.indexing import IndexCost

_OF_HNSW = ("probes", "max_loss", "threshold", "fmr", "as_json")


@click.command("efq-index")
@click.argument("gallery", type=Text())
@click.argument("artifact", type=PATH)
@click.option("--by", type=click.Choice(["hnsw", "none"]), required=True, help="The index; none: exact search again.")
@click.option("--probes", type=click.IntRange(1, 100_000), help="Enrolled faces to search for.  [default: 1000]")
@click.option("--max-loss", type=FiniteFloat(0, 1), help="Most that FNIR may rise by.  [default: 0.001]")
@click.option("--threshold", type=FiniteFloat(-1, 1), help="Cosine above which a face is found.  [default: none]")
@click.option("--fmr", type=FiniteFloat(0, 1, min_open=True, max_open=True), help="Threshold by the certificate's FMR.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@efq_command
def main(
    gallery: str,
    artifact: Path,
    by: str,
    probes: int | None,
    max_loss: float | None,
    threshold: float | None,
    fmr: float | None,
    as_json: bool,
) -> None:
    """Build an approximate index for GALLERY (postgresql://...), whose people were enrolled with ARTIFACT.

    Prints what it adds to FNIR: enrolled faces of people of two or more are searched without themselves, exactly and by
    the index. Costs it more than --max-loss, it is dropped again (exit code 3).
    """
    if not gallery.startswith(("postgresql://", "postgres://")):
        message = "expected a gallery at postgresql://, found another; only PostgreSQL has an approximate index"
        raise UsageError(message)
    if by == "none":
        refuse_unused(_OF_HNSW, "with --by none, which measures nothing")
    with open_gallery(gallery, Artifact.open(artifact), create=False) as store:
        from efq.runtime.gallery.stores.postgresql import indexing
        from efq.runtime.gallery.stores.postgresql.store import PostgresqlStore

        if not isinstance(store, PostgresqlStore):
            raise AssertionError
        if by == "none":
            indexing.drop_index(store)
            click.echo("searches are exact, in services from when they open the gallery again")
            return
        least = store.threshold_of(threshold, fmr)
        log("building the index; enrolments wait")
        indexing.build_index(store)
        cost = indexing.measure_index(store, probes or 1000, least)
        click.echo(_json(cost) if as_json else _sentence(cost))
        most = 0.001 if max_loss is None else max_loss
        if cost.loss > most:
            indexing.drop_index(store)
            message = f"expected an index that adds at most {most:.2%} to FNIR, found {cost.loss:.2%}; it was dropped"
            raise ParityError(message)
        indexing.use_index(store)


def _json(cost: IndexCost) -> str:
    return json.dumps(dataclasses.asdict(cost) | {"loss": cost.loss})


def _sentence(cost: IndexCost) -> str:
    exact, by_index = (misses / cost.probes for misses in (cost.exact_misses, cost.index_misses))
    return (
        f"FNIR of {cost.probes:,} enrolled faces: {exact:.2%} exact ({cost.exact_time:.1f} ms a search), "
        f"{by_index:.2%} by the index ({cost.index_time:.1f} ms): it adds {cost.loss:.2%}"
    )
