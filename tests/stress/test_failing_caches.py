"""A cache that cannot be written costs time, and never an answer, a traceback or the process (SIGBUS)."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from artifacts import random_faces

USE = """
import sys
from pathlib import Path
import numpy as np
from efq.runtime import EfqError, Embedder
from efq.toolchain.data import open_faces

with Embedder.open(sys.argv[1], threads=2) as embedder:
    print(len(embedder.embed(np.load(sys.argv[3]))))
try:
    print(len(open_faces(Path(sys.argv[2])).images))
except EfqError as error:
    print("named" if str(error) else "")
"""
FACES = 12  # 450 kB decoded
MOUNTS = ("size=64k", "nr_inodes=2", "ro")  # no room for pixels, for a file in a folder, for anything


@pytest.fixture(scope="module")
def inputs(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("inputs")
    faces = random_faces(FACES)
    for number, face in enumerate(faces):
        path = folder / "faces" / str(number % 4) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), face)
    np.save(folder / "faces.npy", faces)
    return [str(tiny_artifact), str(folder / "faces"), str(folder / "faces.npy")]


def use(inputs: Sequence[str], cache: Path, wrapper: Sequence[str] = (), largest_file: int | None = None) -> None:
    """Check an Embedder and faces with that cache."""

    def limit_files() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    done = subprocess.run(
        [*wrapper, sys.executable, "-c", USE, *inputs],
        env=os.environ | {"EFQ_CACHE": str(cache)},
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    embedded, decoded = done.stdout.split()
    assert embedded == str(FACES)
    assert decoded in (str(FACES), "named")


@pytest.mark.parametrize("cache", ["/proc/efq", "/dev/null/efq"])
def test_no_folder_can_be_made(inputs: list[str], cache: str) -> None:
    use(inputs, Path(cache))


def test_what_is_in_its_place_is_no_folder_or_no_file(inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "cpu-backend").write_text("a file", encoding="utf-8")
    use(inputs, tmp_path)


def test_it_may_not_be_written(inputs: list[str], tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere; see the other cases")
    tmp_path.chmod(0o500)
    use(inputs, tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("largest_file", [0, 100_000])
def test_files_may_not_grow(inputs: list[str], tmp_path: Path, largest_file: int) -> None:
    """As a quota does for every user."""
    use(inputs, tmp_path, largest_file=largest_file)


@pytest.mark.parametrize("options", MOUNTS)
def test_it_is_full_or_read_only(inputs: list[str], tmp_path: Path, options: str) -> None:
    """A file system of its own, in namespaces of their own."""
    wrapper = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user"))]
    wrapper += ["sh", "-c", 'mount -t tmpfs -o "$0" tmpfs "$1" || exit 77; shift; exec "$@"', options, str(tmp_path)]
    try:
        refused = subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0
    except FileNotFoundError:
        refused = True
    if refused:
        pytest.skip("this user may mount no file system here")
    use(inputs, tmp_path, wrapper)
