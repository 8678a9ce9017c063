"""Damage galleries of every form: `python tests/scripts/fuzz_galleries.py --count 20000 --seed 0`.

Each has to be read, or refused by an error of EFQ in words; what is read has to be a gallery. What does not hold is
printed with its seed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tests_folder  # noqa: F401
from counting import print_counts
from galleries import make_gallery, write_parquet_gallery

from efq.runtime.bulk.folder import BulkFolder
from efq.runtime.errors import EfqError
from efq.runtime.gallery.dual import DualGallery, read_dual, write_dual
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.npz import gallery_arrays, write_gallery
from efq.runtime.gallery.scale import ScoreScale

KINDS = ("stored", "deflated", "csv", "list", "dual", "parquet", "manifest")


def write_one(kind: str, path: Path) -> tuple[Path, Callable[[], Gallery | DualGallery]]:
    """A gallery of one of `KINDS` at `path`, its file that is to be damaged, and what reads it."""
    gallery = make_gallery(4, 2, size=4)
    if kind == "stored":
        write_gallery(path, gallery)
    elif kind == "deflated":
        with path.open("wb") as opened:
            np.savez_compressed(opened, **gallery_arrays(gallery))
    elif kind == "dual":
        scale = ScoreScale(cosines=(0.0, 0.5), scores=(1.0, 3.0))
        halves = gallery.take(np.arange(4)), gallery.take(np.arange(4, 8))
        write_dual(path, DualGallery(old=halves[0], new=halves[1], old_scale=scale, new_scale=scale))
        return path, lambda: read_dual(path)
    elif kind in ("parquet", "manifest"):
        folder = path.with_name("bulk")
        shutil.rmtree(folder, ignore_errors=True)
        write_parquet_gallery(folder, gallery)
        file = BulkFolder(folder).shard(0) if kind == "parquet" else BulkFolder(folder).manifest
        return file, lambda: read_gallery(folder)
    else:
        header = "person,e0,e1,e2,e3" if kind == "csv" else "person,embedding"
        values = [row.tolist() for row in gallery.embeddings]
        texts = [",".join(map(str, row)) if kind == "csv" else f'"{json.dumps(row)}"' for row in values]
        rows = [f"{person},{text}" for person, text in zip(gallery.people, texts, strict=True)]
        path.write_text("\n".join([header, *rows]))
    return path, lambda: read_gallery(path)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """With bytes changed, cut out, doubled or put in."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        if not found:
            break
        at = draw.randrange(len(found))
        kind = draw.randrange(4)
        if kind == 0:
            found[at] = draw.randrange(256)
        elif kind == 1:
            del found[at : at + draw.choice((1, 10, 300))]
        elif kind == 2:
            found[at:at] = found[at : at + draw.choice((1, 10, 300))]
        else:
            found[at:at] = bytes(draw.randrange(256) for _ in range(4))
    return bytes(found)


def cases(kind: str, count: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Each case's name, and what came of it: "read", "refused", or what did not hold, after "HOLE"."""
    path, read = write_one(kind, folder / "gallery")
    content = path.read_bytes()
    for place in range(count):
        name = f"{kind}/{seed}/{place}"
        path.write_bytes(mutated(content, random.Random(name)))
        try:
            found = read()
            sides = (found.old, found.new) if isinstance(found, DualGallery) else (found,)
            lengths = np.concatenate([np.linalg.norm(side.embeddings, axis=1) for side in sides])
            yield name, "read" if np.allclose(lengths, 1, atol=1e-5) else "HOLE: lengths that are not 1"
        except EfqError as error:
            yield name, "refused" if "expected" in str(error) else f"HOLE: {error}"
        except Exception as error:
            yield name, f"HOLE: {error!r}"


def main() -> int:
    """Count; 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="Of each kind.")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="efq-fuzz-") as folder:
        for kind in KINDS:
            for name, outcome in cases(kind, chosen.count, chosen.seed, Path(folder)):
                if outcome.startswith("HOLE"):
                    print(name, outcome, flush=True)
                counts[f"{kind}: {outcome.partition(':')[0]}"] += 1
    print_counts(counts)
    return int(any("HOLE" in outcome for outcome in counts))


if __name__ == "__main__":
    raise SystemExit(main())
