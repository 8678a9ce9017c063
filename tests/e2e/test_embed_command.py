"""efq-embed as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from artifacts import EMBEDDING_SIZE, random_faces, reference_embeddings
from click.testing import CliRunner, Result
from messages import names, raises_naming

from efq.runtime import Artifact, InputContract, InputError
from efq.runtime.embed_command import main
from efq.runtime.faces.images import IMAGE_SUFFIXES, read_faces
from efq.runtime.faces.template import ARCFACE_TEMPLATE
from efq.runtime.gallery.files import read_gallery
from efq.runtime.reading import sha256_file

FACES = random_faces(5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five faces: people/a/0.png ... people/b/4.png."""
    for index, face in enumerate(FACES):
        path = tmp_path / "people" / ("a" if index < 3 else "b") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), face[:, :, ::-1])
    return tmp_path / "people"


def embed(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--threads", 1)])


def test_folder_to_npz(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    result = embed(tiny_artifact, folder, "-o", output, "--batch", 2, "--backend", "onnxruntime")
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    names(line, output, 5, EMBEDDING_SIZE, "onnxruntime")
    with np.load(output, allow_pickle=False) as saved:
        assert sorted(saved) == ["embeddings", "faces", "hashes", "paths", "people", "record"]
        assert saved["embeddings"].dtype == np.float32
        np.testing.assert_allclose(saved["embeddings"], reference_embeddings(FACES), atol=2e-6)
        assert [Path(path).relative_to(folder).as_posix() for path in saved["paths"]] == [
            "a/0.png",
            "a/1.png",
            "a/2.png",
            "b/3.png",
            "b/4.png",
        ]


def test_a_folder_of_people_is_a_gallery(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    for _ in range(2):  # the second run replaces the file of the first, to the byte
        result = embed(tiny_artifact, folder, "-o", output, "--json")
        assert json.loads(result.stdout)["people"] == 2
    gallery = read_gallery(output)
    assert gallery.people.tolist() == ["a", "a", "a", "b", "b"]
    assert gallery.faces.tolist() == ["a/0.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png"]
    assert [sha256_file(folder / face, expected="a crop") for face in gallery.faces] == gallery.hashes.tolist()
    artifact = Artifact.open(tiny_artifact)
    assert gallery.record.model.sha256 == artifact.checksums["model.onnx"]
    for images in ((folder / "a", folder / "b"), (folder / "a",), (tmp_path,)):  # nothing says who is on which
        assert embed(tiny_artifact, *images, "-o", output).exit_code == 0
        with raises_naming(InputError, output):
            read_gallery(output)


@pytest.mark.parametrize("name", ["two\nlines", "\udcff"])
def test_no_gallery_of_names_that_it_cannot_hold(tiny_artifact: Path, folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "a").rename(folder / name)
    result = embed(tiny_artifact, folder, "-o", tmp_path / "out.npz", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["people"] is None
    names(result.stderr, "warning", "gallery")
    with np.load(tmp_path / "out.npz") as content:
        assert content["embeddings"].shape == (5, content["embeddings"].shape[1])


def test_json_summary_is_the_only_thing_on_stdout(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    result = embed(tiny_artifact, folder, "-o", tmp_path / "out.npz", "--json", "--skip-unreadable")
    summary = json.loads(result.stdout)
    assert (summary["images"], summary["skipped"]) == (5, [str(folder / "a" / "broken.jpg")])
    names(result.stderr, folder / "a" / "broken.jpg")


def test_every_unusable_image_is_named_and_nothing_is_written(
    tiny_artifact: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "a" / "broken.jpg").write_bytes(b"")
    cv2.imwrite(str(folder / "b" / "large.png"), np.zeros((200, 200, 3), np.uint8))
    result = embed(tiny_artifact, folder, tmp_path / "nobody.jpg", "-o", tmp_path / "out.npz")
    assert result.exit_code == 1
    unusable = (folder / "a" / "broken.jpg", folder / "b" / "large.png", tmp_path / "nobody.jpg")
    names(result.stderr.partition("error: ")[2], *unusable, 3, 8, "--landmarks", "--skip-unreadable")
    assert not (tmp_path / "out.npz").exists()
    assert embed(tiny_artifact, folder, "-o", tmp_path / "out.npz", "--skip-unreadable").exit_code == 1


def test_landmarks_align(tiny_artifact: Path, tmp_path: Path) -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[40:152, 60:172] = FACES[0]
    cv2.imwrite(str(tmp_path / "picture.png"), picture[:, :, ::-1])
    landmarks = tmp_path / "landmarks.csv"
    values = ",".join(str(value) for value in (ARCFACE_TEMPLATE + np.array((60, 40))).ravel())
    landmarks.write_text(f"{tmp_path / 'picture.png'},{values}\n")
    output = tmp_path / "out.npz"
    result = embed(tiny_artifact, tmp_path / "picture.png", "-o", output, "--landmarks", landmarks)
    assert result.exit_code == 0, result.stderr
    with np.load(output) as saved:
        np.testing.assert_allclose(saved["embeddings"], reference_embeddings(FACES[:1]), atol=0.01)
    cv2.imwrite(str(tmp_path / "other.png"), picture)
    result = embed(tiny_artifact, tmp_path / "other.png", "-o", output, "--landmarks", landmarks)
    assert result.exit_code == 1
    names(result.stderr, tmp_path / "other.png", landmarks)


def test_no_images(tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = embed(tiny_artifact, tmp_path / "empty", "-o", tmp_path / "out.npz")
    assert result.exit_code == 1
    names(result.stderr, tmp_path / "empty", *IMAGE_SUFFIXES)
    (tmp_path / "empty" / "broken.jpg").write_bytes(b"")
    result = embed(tiny_artifact, tmp_path / "empty", "-o", tmp_path / "out.npz", "--skip-unreadable")
    assert result.exit_code == 1
    names(result.stderr, tmp_path / "empty" / "broken.jpg")
    names(result.stderr.partition("error: ")[2], 1)


def test_installed_command_without_an_artifact_exits_with_5(folder: Path, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("efq-embed"), tmp_path / "none", folder, "-o", tmp_path / "out.npz"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 5
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    names(result.stderr, tmp_path / "none", "efq-export")


@pytest.mark.faces
def test_real_faces(tiny_artifact: Path, faces_root: Path, tmp_path: Path) -> None:
    listed = (faces_root / "splits" / "dev.txt").read_text().splitlines()[:40]
    paths = [faces_root / name for name in listed]
    result = embed(tiny_artifact, *paths, "-o", tmp_path / "out.npz")
    assert result.exit_code == 0, result.stderr
    with np.load(tmp_path / "out.npz") as saved:
        expected = reference_embeddings(read_faces(paths, InputContract()))
        np.testing.assert_allclose(saved["embeddings"], expected, atol=2e-6)
