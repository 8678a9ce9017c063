"""Pack faces of a folder as data sets are handed on: `python tests/scripts/pack_faces.py FACES LIST OUT`.

Writes into the folder OUT what the file LIST names of FACES: `records/` (InsightFace's train.rec, train.idx, property),
`faces.tar` (folders by person) and `samples.tar` (WebDataset's numbers with labels).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tests_folder  # noqa: F401
from packed_faces import faces_of, folder_members, webdataset_members, write_recordio, write_tar

from efq.toolchain.data import open_source
from efq.toolchain.data.listing import read_listing


def main() -> None:
    """Read and write."""
    options = argparse.ArgumentParser(description=__doc__)
    for name in ("faces", "listing", "out"):
        options.add_argument(name, type=Path)
    arguments = options.parse_args()
    faces = faces_of(arguments.faces, read_listing(arguments.listing, open_source(arguments.faces)))
    write_recordio(arguments.out / "records", faces)
    write_tar(arguments.out / "faces.tar", folder_members(faces))
    write_tar(arguments.out / "samples.tar", webdataset_members(faces))


if __name__ == "__main__":
    main()
