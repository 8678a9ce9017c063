"""`efq-migrate`: a gallery that was enrolled with another model."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.toolchain.migrate_command")

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import click

from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.commands.options import DEVICE, IMAGES, PATH, SEED, TEXT, THREADS, FiniteFloat, refuse_unused
from efq.runtime.console import efq_command, log, progress
from efq.runtime.errors import IncompatibleArtifactError, UsageError
from efq.runtime.files import refuse_inputs, reserved
from efq.runtime.gallery.dual import is_dual, write_dual
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.npz import write_gallery
from efq.toolchain.data import IdentityLevel
from efq.toolchain.face_options import identity_level_option
from efq.toolchain.migration.crops import Crops
from efq.toolchain.migration.map_certificate import MapCertificate, certify_maps
from efq.toolchain.migration.mapping import LinearMap
from efq.toolchain.migration.models import OpenModel, open_model
from efq.toolchain.migration.ordering import MEASURES
from efq.toolchain.migration.paired import embed_pairs
from efq.toolchain.migration.plan import COMPATIBLE, DUAL, MAP, REEMBED, WAYS, check_old_model, make_plan
from efq.toolchain.migration.reembed import Reembedding
from efq.toolchain.migration.ways import SCALE_FACES, keep_compatible, map_gallery, merge_both, prepare

_CHECKPOINTS = 20  # times that a gallery of both models is written on its way


@click.command("efq-migrate")
@click.argument("gallery_file", metavar="GALLERY", type=PATH)
@click.argument("new_model", metavar="NEW_MODEL", type=PATH)
@click.option("--by", "way", type=click.Choice(WAYS), help="How; without it the plan is printed, as by --dry-run.")
@click.option("-o", "--output", type=PATH, help="Gallery to write (.npz).")
@click.option("--crops", type=PATH, help="Folder of the aligned crops that the gallery's faces are named after.")
@click.option("--old-model", type=PATH, help="The gallery's model: an artifact folder, a teacher or a student file.")
@click.option("--faces", "root", type=PATH, help="Faces of other people, to fit a map between both models on.")
@click.option("--list", "listing", type=PATH, help="File naming the images of --faces to take.")
@identity_level_option
@click.option(
    "--max-loss",
    type=FiniteFloat(0, 100),
    default=0.5,
    show_default=True,
    help="Most that may be lost by keeping or mapping old embeddings, points of a hundred.",
)
@click.option(
    "--deployed-threshold", type=FiniteFloat(-1, 1), help="Threshold in use, that the certificate has to be of."
)
@click.option(
    "--order",
    "measure",
    type=click.Choice(MEASURES),
    help="Whose crops come first: whom a map tells least of, who is alike to many, whose strangers are nearer than "
    "themselves, or as drawn.  [default: map for a mapped gallery, else central]",
)
@click.option("--limit", type=IMAGES, help="Embed at most about so many faces, and go on in another run.")
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Go on without faces that have no crop; with --by dual they stay with the old model.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of what is drawn.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--threads", type=THREADS, help="Threads of the models.  [default: every CPU]")
@click.option("--device", type=DEVICE, help="cpu, cuda or cuda:N.  [default: that of an artifact's target, else cpu]")
@click.option("--backend", type=TEXT, default=AUTOMATIC, show_default=True, help="Of artifacts, on the CPU.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@efq_command
def main(
    gallery_file: Path,
    new_model: Path,
    way: str | None,
    output: Path | None,
    crops: Path | None,
    old_model: Path | None,
    root: Path | None,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    max_loss: float,
    deployed_threshold: float | None,
    measure: str | None,
    limit: int | None,
    allow_missing: bool,
    seed: int,
    dry_run: bool,
    force: bool,
    threads: int | None,
    device: str | None,
    backend: str,
    as_json: bool,
) -> None:
    """Move GALLERY, enrolled with another model (.npz, CSV or TSV), to NEW_MODEL, an artifact folder or a file.

    compatible keeps the embeddings where the artifact's certificate says that its probes may search them; re-embed
    embeds the stored crops again; dual does the same and writes on its way galleries of both models, that are searched
    meanwhile; map turns the embeddings by a linear map fitted on --faces. The plan says which are possible.
    """
    writes = way is not None and not dry_run
    _check_options(way, writes=writes, root=root, old_model=old_model, crops=crops)
    parts = None if output is None else output.parent / f"{output.name}.resume"
    context = click.get_current_context()
    if writes:
        if output is None:
            message = "expected a gallery to write, found no name of one; give -o NEW.npz"
            raise UsageError(message)
        inputs = {"the gallery": gallery_file, "the new model": new_model, "the old model": old_model}
        refuse_inputs(output, inputs | {"the crops": crops, "the faces": root})
        goes_on = way == DUAL and parts is not None and parts.is_dir() and is_dual(output)
        context.with_resource(reserved(output, replace=force or goes_on))
    else:
        refuse_unused(("output", "force", "limit"), "without --by, or with --dry-run")
    opened = functools.partial(open_model, threads=threads, device=device, backend=backend, progress=progress)
    new = context.with_resource(opened(new_model))
    old = None if old_model is None else context.with_resource(opened(old_model))
    gallery = _read(gallery_file, old)
    folder = None if crops is None else Crops(root=crops, contract=new.contract)
    if folder is not None and old is not None and not folder.missing(gallery).all():
        log(f"the old model's embeddings of crops are those enrolled: {check_old_model(gallery, folder, old):.4f}")
    mapped: tuple[MapCertificate, LinearMap] | None = None
    if root is not None:
        assert old is not None
        pairs = embed_pairs(root, old, new, gallery, listing=listing, identity_level=identity_level, progress=progress)
        mapped = certify_maps(pairs.old, pairs.new, pairs.people, (gallery.record.model, new.model))[0]
    plan = make_plan(
        gallery,
        new,
        crops=folder,
        map_certificate=mapped[0] if mapped else None,
        max_loss=max_loss,
        allow_missing=allow_missing,
    )
    if not writes:
        click.echo(json.dumps({"plan": plan.to_dict()}) if as_json else "\n".join(plan.lines()))
        return
    for line in plan.lines():
        log(line)
    assert output is not None
    assert parts is not None
    if way == COMPATIBLE:
        result = _written(output, keep_compatible(gallery, new, max_loss=max_loss, deployed=deployed_threshold), force)
    elif way == MAP:
        if mapped is None:
            raise UsageError(plan.way(MAP).why_not)
        result = _written(output, map_gallery(gallery, new, mapped[1], mapped[0], max_loss=max_loss), force)
    else:
        if folder is None:
            raise UsageError(plan.way(REEMBED).why_not)
        work = prepare(
            gallery,
            folder,
            parts,
            measure=measure,
            sample=SCALE_FACES,
            allow_missing=allow_missing,
            seed=seed,
        )
        if way == DUAL:
            result = _dual(work, new, output, limit=limit, max_loss=max_loss)
        else:
            result = _reembed(work, new, output, limit=limit, replace=force)
    summary = {"output": str(output), "way": way} | result
    click.echo(json.dumps({"plan": plan.to_dict(), "result": summary}) if as_json else _sentence(summary))


def _check_options(
    way: str | None, *, writes: bool, root: Path | None, old_model: Path | None, crops: Path | None
) -> None:
    """Raise UsageError for options that have no effect beside the others, or lack another one."""
    if root is None:
        refuse_unused(("listing", "identity_level"), "without --faces")
    elif old_model is None:
        message = "expected both models to fit a map with --faces, found one; name the old one with --old-model"
        raise UsageError(message)
    if crops is None:
        refuse_unused(("allow_missing", "limit"), "without --crops")
    if way != COMPATIBLE:
        refuse_unused(("deployed_threshold",), f"but with --by {COMPATIBLE}")
    if writes and way in (COMPATIBLE, MAP):
        refuse_unused(("measure", "limit", "allow_missing", "seed"), f"with --by {way}, which embeds no crops")
    if writes and way == REEMBED:
        refuse_unused(("max_loss",), f"with --by {way}, which loses nothing")


def _read(path: Path, old: OpenModel | None) -> Gallery:
    """The gallery, of the old model where one is named. Raises IncompatibleArtifactError where it is of another."""
    gallery = read_gallery(path)
    found = gallery.record.model
    if old is None or found.same_as(old.model):
        return gallery
    if found.sha256 is not None or found.embedding_size != old.model.embedding_size:
        message = f"expected the old model of the gallery {path}, {found}, found {old.model}; name that one"
        raise IncompatibleArtifactError(message)
    return dataclasses.replace(gallery, record=dataclasses.replace(gallery.record, model=old.model))


def _written(output: Path, gallery: Gallery, replace: bool) -> dict[str, Any]:
    write_gallery(output, gallery, replace=replace)
    bound = gallery.record.searched_by
    said = {"statement": bound.statement, "thresholds": dict(bound.thresholds)} if bound else {}
    return {"done": len(gallery), "left": 0, "searched_with": "new"} | said


def _reembed(work: Reembedding, new: OpenModel, output: Path, *, limit: int | None, replace: bool) -> dict[str, Any]:
    work.begin(new)
    done = work.run(new, most=limit, progress=progress)
    left = len(work.rows) - done
    if not left:
        write_gallery(output, work.result(new), replace=replace)
        work.remove()
    return {"done": done, "left": left, "searched_with": "old" if left else "new"}


def _dual(work: Reembedding, new: OpenModel, output: Path, *, limit: int | None, max_loss: float) -> dict[str, Any]:
    """Embed on and write the gallery of both models now and then; the new one's alone when nothing waits.

    It stays one of both where faces have no crop: these wait until they are enrolled again.
    """
    work.begin(new)
    step = max(len(work.rows) // _CHECKPOINTS, 1)
    end = len(work.rows) if limit is None else min(len(work.rows), max(work.done + limit, len(work.drawn)))
    done = work.done
    while True:
        done = work.run(new, most=max(min(step, end - done), len(work.drawn) - done, 0), progress=progress)
        if not len(work.waiting):
            write_gallery(output, work.result(new), replace=True)
            work.remove()
            return {"done": done, "left": 0, "searched_with": "new"}
        merged = merge_both(work, new, max_loss=max_loss)
        write_dual(output, merged, replace=True)
        if done >= end:
            if done == len(work.rows):
                work.remove()
            probes = "both" if merged.needs_old_probes else "new"
            return {"done": done, "left": len(merged.old), "searched_with": probes}


def _sentence(summary: dict[str, Any]) -> str:
    done, left, way = summary["done"], summary["left"], summary["way"]
    if not left:
        said = f"; {summary['statement']}" if "statement" in summary else ""
        return f"{summary['output']}: {done:,} faces, by {way}{said}"
    if way == REEMBED:
        return f"{done:,} faces embedded, {left:,} left; run it again to go on"
    probes = "by both models" if summary["searched_with"] == "both" else "by the new model"
    return f"{summary['output']}: {done:,} faces by the new model, {left:,} wait; search it with probes {probes}"
