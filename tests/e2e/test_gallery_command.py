"""efq-gallery as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from artifacts import EMBEDDING_SIZE, make_artifact, make_manifest, make_model
from click.testing import CliRunner, Result
from galleries import draw_embeddings
from messages import names

from efq.runtime import Artifact
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.models import model_of
from efq.runtime.gallery.npz import write_gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.gallery_command import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """`artifact`, and `people.npz` of four faces of two people."""
    artifact = make_artifact(tmp_path / "artifact")
    rows, _ = draw_embeddings(2, 2, size=EMBEDDING_SIZE)
    record = GalleryRecord(model=model_of(Artifact.open(artifact)))
    faces = ["a/1", "a/2", "g/1", "g/2"]
    write_gallery(tmp_path / "people.npz", Gallery.of(rows, ["Ada", "Ada", "Grace", "Grace"], faces, record))
    return tmp_path


def test_people_go_in_and_out(inputs: Path) -> None:
    place, artifact = inputs / "gallery.db", inputs / "artifact"
    done = run(place, artifact, "--import", inputs / "people.npz", "--template", "mean", "--json")
    assert json.loads(done.stdout) == {
        "gallery": str(place), "template": "mean", "enrolled": 4, "people": 2, "faces": 4
    }  # fmt: skip
    names(run(place, artifact).stdout, place, 2, 4)
    assert run(place, artifact, "--export", inputs / "out.npz").exit_code == 0
    assert read_gallery(inputs / "out.npz").faces.tolist() == ["a/1", "a/2", "g/1", "g/2"]
    assert run(place, artifact, "--export", inputs / "out.npz").exit_code == 2
    assert run(place, artifact, "--export", inputs / "out.npz", "--force").exit_code == 0
    assert json.loads(run(place, artifact, "--remove", "Ada", "--face", "a/2", "--json").stdout)["removed"] == 1
    assert json.loads(run(place, artifact, "--remove", "Grace", "--json").stdout)["faces"] == 1
    assert run(place, artifact, "--remove", "Grace").exit_code == 1


@pytest.mark.parametrize(
    "options",
    [("--remove", "Ada", "--export", "x.npz"), ("--face", "a/1"), ("--force",), (), ("--template", "other")],
    ids=lambda options: " ".join(options) or "nothing there",
)
def test_what_would_do_nothing_is_refused(inputs: Path, options: tuple[str, ...]) -> None:
    assert run(inputs / "gallery.db", inputs / "artifact", *options).exit_code == 2
    assert not (inputs / "gallery.db").exists()


def test_people_of_another_model(inputs: Path) -> None:
    other = make_artifact(inputs / "other", model=make_model(make_manifest(), batch=4))
    assert run(inputs / "gallery.db", inputs / "artifact", "--import", inputs / "people.npz").exit_code == 0
    assert run(inputs / "gallery.db", other).exit_code == 5
