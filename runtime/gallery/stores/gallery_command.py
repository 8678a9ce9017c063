"""efq-gallery: enrolled people of a file or server: take over, write out, remove, count."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.runtime.gallery.stores.gallery_command")

import json
from pathlib import Path

import click
import numpy as np

from efq.runtime.artifact.folder import Artifact
from efq.runtime.commands.options import PATH, Text, refuse_unused
from efq.runtime.console import efq_command
from efq.runtime.errors import InputError, UsageError
from efq.runtime.files import refuse_inputs, reserved
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.gallery import LONGEST_NAME, Gallery
from efq.runtime.gallery.npz import write_gallery
from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.store import TEMPLATES, GalleryStore, Template


@click.command("efq-gallery")
@click.argument("place", type=Text(most=4_096))
@click.argument("artifact", type=PATH)
@click.option("--import", "imported", type=PATH, help="Enroll the people of a gallery file (.npz, CSV or TSV).")
@click.option("--export", "exported", type=PATH, help="Write all who are enrolled into a gallery file (.npz).")
@click.option("--remove", "person", type=Text(most=LONGEST_NAME), help="Erase a person.")
@click.option("--face", type=Text(most=LONGEST_NAME), help="With --remove: this face of the person only.")
@click.option("--template", type=click.Choice(TEMPLATES), help="What probes of a new gallery are compared with.")
@click.option("--force", is_flag=True, help="With --export: replace the file.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@efq_command
def main(
    place: str,
    artifact: Path,
    imported: Path | None,
    exported: Path | None,
    person: str | None,
    face: str | None,
    template: Template | None,
    force: bool,
    as_json: bool,
) -> None:
    """Change or count who is enrolled at PLACE, a file or an address, by the embeddings of ARTIFACT."""
    if sum(option is not None for option in (imported, exported, person)) > 1:
        message = "expected one of --import, --export and --remove, found several"
        raise UsageError(message)
    if not place.strip() or "\0" in place:
        message = f"expected a file or an address of a gallery as PLACE, found {place[:100]!r}"
        raise UsageError(message)
    if person is None:
        refuse_unused(("face",), "without --remove")
    if exported is None:
        refuse_unused(("force",), "without --export")
    else:
        refuse_inputs(exported, {"the artifact": artifact, "the gallery": Path(place)})
    opened = Artifact.open(artifact)
    gallery = None if imported is None else read_gallery(imported)
    with open_gallery(place, opened, template=template, create=gallery is not None) as store:
        summary: dict[str, object] = {"gallery": place, "template": store.template}
        if gallery is not None:
            summary["enrolled"] = store.add(gallery)
        if exported is not None:
            summary["exported"] = _export(store, exported, replace=force)
        if person is not None:
            summary["removed"] = _remove(store, person, face)
        size = store.size()
    summary |= {"people": size.people, "faces": size.faces}
    click.echo(json.dumps(summary) if as_json else _sentence(summary))


def _export(store: GalleryStore, path: Path, *, replace: bool) -> int:
    """Write it whole. Raises InputError where nobody is enrolled."""
    with reserved(path, replace=replace):
        parts = list(store.export())
        if not parts:
            message = "expected people to export, found nobody enrolled"
            raise InputError(message)
        gallery = Gallery.of(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.people for part in parts]),
            np.concatenate([part.faces for part in parts]),
            store.record,
            hashes=np.concatenate([part.hashes for part in parts]),
        )
        write_gallery(path, gallery, replace=replace)
    return len(gallery)


def _remove(store: GalleryStore, person: str, face: str | None) -> int:
    """Raises InputError for somebody, or a face, that is not enrolled."""
    removed = store.remove(person, face)
    if not removed:
        message = "expected a person, and a face if one is named, who is enrolled; found none of that name"
        raise InputError(message)
    return removed


def _sentence(summary: dict[str, object]) -> str:
    done = ", ".join(f"{what} {summary[what]} faces" for what in ("enrolled", "exported", "removed") if what in summary)
    return (
        f"{summary['gallery']}: {f'{done}; ' if done else ''}{summary['people']} people with {summary['faces']} faces"
    )
