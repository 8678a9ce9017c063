"""efq-migrate as a user runs it, on drawn faces and two tiny artifacts: one's embeddings are the other's, turned."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifacts import EMBEDDING_SIZE, make_artifact, make_manifest, make_model
from click.testing import CliRunner, Result
from galleries import make_gallery
from messages import names
from networks import write_faces
from onnx import numpy_helper

from efq.runtime import Embedder
from efq.runtime.artifact.folder import write_checksums
from efq.runtime.embed_command import main as embed_main
from efq.runtime.faces.images import read_faces
from efq.runtime.gallery.dual import read_dual
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.npz import write_gallery
from efq.runtime.reading import sha256_file
from efq.toolchain import migrate_command
from efq.toolchain.migrate_command import main
from efq.toolchain.migration import reembed, ways

PEOPLE, EACH = 60, 3
KILLED = """
import os, signal, sys
from efq.runtime.embedder import Embedder
from efq.toolchain.migration import reembed
reembed.CHUNK = 32
calls, whole = int(sys.argv.pop(1)), Embedder.embed
def embed(self, images):
    global calls
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, images)
Embedder.embed = embed
from efq.toolchain.migrate_command import main
main()
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """old/ and new/ artifacts, crops/ of the gallery old.npz, faces/ of other people."""
    folder = tmp_path_factory.mktemp("migrate")
    make_artifact(folder / "old", name="old", training_data=True)
    manifest = make_manifest(name="new")
    model = make_model(manifest)
    (linear,) = (one for one in model.graph.initializer if one.name == "linear")
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(EMBEDDING_SIZE, EMBEDDING_SIZE)))[0]
    turned = (numpy_helper.to_array(linear) @ turn).astype(np.float32)
    linear.CopyFrom(numpy_helper.from_array(turned, "linear"))
    make_artifact(
        folder / "new",
        manifest=manifest,
        model=onnx.ModelProto.FromString(model.SerializeToString()),
        training_data=True,
    )
    write_faces(folder / "crops", PEOPLE, EACH)
    write_faces(folder / "faces", 2 * PEOPLE, EACH)
    for person in range(PEOPLE):
        shutil.rmtree(folder / "faces" / f"p{person}")
    arguments = [folder / "old", folder / "crops", "-o", folder / "old.npz", "--threads", 1, "--backend", "onnxruntime"]
    assert CliRunner().invoke(embed_main, [str(argument) for argument in arguments]).exit_code == 0
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reembed, "CHUNK", 32)


def options(*arguments: object) -> list[str]:
    return [str(argument) for argument in (*arguments, "--threads", 1, "--backend", "onnxruntime")]


def migrate(*arguments: object) -> Result:
    return CliRunner().invoke(main, options(*arguments))


def files_of(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_plan_writes_nothing_and_says_what_is_possible(inputs: Path, tmp_path: Path) -> None:
    before = files_of(inputs)
    gallery, new, crops = inputs / "old.npz", inputs / "new", ("--crops", inputs / "crops")
    result = migrate(gallery, new, *crops, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)["plan"]
    assert (plan["faces"], plan["people"], plan["crops"]) == (PEOPLE * EACH, PEOPLE, PEOPLE * EACH)
    assert plan["milliseconds"] > 0
    possible = {way["name"]: way["possible"] for way in plan["ways"]}
    assert possible == {"compatible": False, "re-embed": True, "dual": True, "map": False}
    assert {way["name"] for way in plan["ways"] if way["why_not"]} == {"compatible", "map"}
    words = migrate(gallery, new, "--by", "map", "--dry-run").stdout
    names(words, "old", "new", PEOPLE * EACH, PEOPLE, "--faces", "--crops", "efq-bench")
    with_faces = ("--faces", inputs / "faces", "--old-model", inputs / "old")
    plan = json.loads(migrate(gallery, new, *crops, *with_faces, "--json").stdout)["plan"]
    assert all(way["possible"] for way in plan["ways"][1:])
    assert plan["map"]["cosine_min"] > 0.999
    assert files_of(inputs) == before
    assert not list(tmp_path.iterdir())


def test_reembedding_gives_the_new_models_embeddings(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.npz"
    result = migrate(inputs / "old.npz", inputs / "new", "--by", "re-embed", "--crops", inputs / "crops", "-o", output)
    assert result.exit_code == 0, result.stderr
    names(result.stdout, output, PEOPLE * EACH)
    old, new = read_gallery(inputs / "old.npz"), read_gallery(output)
    assert list(tmp_path.iterdir()) == [output]
    assert (new.people == old.people).all()
    assert (new.faces == old.faces).all()
    assert (new.hashes == old.hashes).all()
    with Embedder.open(inputs / "new", threads=1, backend="onnxruntime") as embedder:
        assert new.record.model.sha256 == embedder.artifact.checksums["model.onnx"]
        faces = read_faces([inputs / "crops" / face for face in new.faces[:5]], embedder.contract)
        np.testing.assert_allclose(new.embeddings[:5], embedder.embed(faces), atol=1e-6)
    again = migrate(output, inputs / "new", "--by", "re-embed", "--crops", inputs / "crops", "-o", tmp_path / "x.npz")
    assert again.exit_code == 2
    names(again.stderr, "already")


@pytest.mark.parametrize("calls", [3, 5])
def test_a_killed_run_goes_on_to_the_same_bytes(calls: int, inputs: Path, tmp_path: Path) -> None:
    arguments = (inputs / "old.npz", inputs / "new", "--by", "re-embed", "--crops", inputs / "crops")
    whole, output = tmp_path / "whole.npz", tmp_path / "out.npz"
    assert migrate(*arguments, "-o", whole).exit_code == 0
    words = [sys.executable, "-c", KILLED, str(calls), *options(*arguments, "-o", output)]
    killed = subprocess.run(words, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    parts = tmp_path / "out.npz.resume"
    assert len(list(parts.glob("*.npz"))) == calls - 3
    assert not output.exists()
    other = migrate(*arguments, "--order", "margin", "-o", output)  # it would mix two orders
    assert other.exit_code == 1
    names(other.stderr, parts, "order")
    assert migrate(*arguments, "-o", output).exit_code == 0
    assert output.read_bytes() == whole.read_bytes()
    assert not parts.exists()


def test_crops_that_changed_are_refused(inputs: Path, tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    shutil.copytree(inputs / "crops", crops)
    arguments = (inputs / "old.npz", inputs / "new", "--by", "re-embed", "--crops", crops, "-o", tmp_path / "new.npz")
    part = migrate(*arguments, "--limit", 1)
    assert part.exit_code == 0, part.stderr
    names(part.stdout, 32, PEOPLE * EACH - 32)
    assert not (tmp_path / "new.npz").exists()
    for person in range(PEOPLE):  # whichever were embedded first
        shutil.copy(inputs / "faces" / f"p{PEOPLE}" / "0.png", crops / f"p{person}" / "1.png")
    changed = migrate(*arguments)
    assert changed.exit_code == 1
    names(changed.stderr, crops)
    shutil.rmtree(tmp_path / "new.npz.resume")
    shutil.copytree(inputs / "crops", crops, dirs_exist_ok=True)
    shutil.rmtree(crops / "p7")
    missing = migrate(*arguments)
    assert missing.exit_code == 1
    names(missing.stderr, crops, "p7/0.png", 3, "--allow-missing")
    shutil.rmtree(crops)
    crops.mkdir()
    assert migrate(*arguments).exit_code == 1
    assert migrate(*arguments[:4], "-o", tmp_path / "new.npz").exit_code == 2


def test_missing_crops_may_be_left_out(inputs: Path, tmp_path: Path) -> None:
    crops, output = tmp_path / "crops", tmp_path / "new.npz"
    shutil.copytree(inputs / "crops", crops)
    shutil.rmtree(crops / "p7")
    arguments = (inputs / "old.npz", inputs / "new", "--by", "re-embed", "--crops", crops, "-o", output)
    assert migrate(*arguments, "--allow-missing").exit_code == 0
    new = read_gallery(output)
    assert len(new) == PEOPLE * EACH - EACH
    assert "p7" not in new.people


def test_faces_without_crops_stay_with_the_old_model(inputs: Path, tmp_path: Path) -> None:
    crops, output = tmp_path / "crops", tmp_path / "both.npz"
    shutil.copytree(inputs / "crops", crops)
    shutil.rmtree(crops / "p7")
    arguments = (inputs / "old.npz", inputs / "new", "--crops", crops)
    for more, possible in (((), False), (("--allow-missing",), True)):
        plan = json.loads(migrate(*arguments, *more, "--json").stdout)["plan"]
        assert [way["possible"] for way in plan["ways"]] == [False, possible, possible, False]
        result = migrate(*arguments, "--by", "dual", *more, "-o", output)
        assert (result.exit_code == 0) is possible
    dual = read_dual(output)
    assert set(dual.old.people) == {"p7"}
    assert len(dual.new) == PEOPLE * EACH - EACH
    assert sorted(tmp_path.iterdir()) == [output, crops]  # nothing is left to go on with


def test_what_is_no_gallery_of_both_models_is_not_replaced(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "both.npz"
    output.write_text("mine")
    (tmp_path / "both.npz.resume").mkdir()
    arguments = (inputs / "old.npz", inputs / "new", "--by", "dual", "--crops", inputs / "crops", "-o")
    assert migrate(*arguments, output).exit_code == 2
    assert output.read_text() == "mine"
    for place in (".", "/"):
        result = migrate(*arguments, place)
        assert result.exit_code == 2
        assert not result.exception or isinstance(result.exception, SystemExit)


def test_a_gallery_of_both_models_is_searched_on_its_way(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ways, migrate_command):
        monkeypatch.setattr(module, "SCALE_FACES", 64)
    output = tmp_path / "both.npz"
    arguments = (inputs / "old.npz", inputs / "new", "--by", "dual", "--crops", inputs / "crops", "-o", output)
    first = migrate(*arguments, "--limit", 10, "--json")
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["result"] == {
        "output": str(output), "way": "dual", "done": 64, "left": PEOPLE * EACH - 64, "searched_with": "both",
    }  # fmt: skip
    old = read_gallery(inputs / "old.npz")
    dual = read_dual(output)
    assert set(dual.old.faces) | set(dual.new.faces) == set(old.faces)
    with Embedder.open(inputs / "new", threads=1) as new, Embedder.open(inputs / "old", threads=1) as former:
        faces = read_faces([inputs / "crops" / face for face in old.faces], new.contract)
        found = dual.search(new.embed(faces), former.embed(faces), k=3)
    assert (found.people[:, 0] == old.people).all()
    assert migrate(*arguments, "--limit", 32).exit_code == 0  # goes on, and replaces what it wrote
    assert len(read_dual(output).new) == 96
    last = migrate(*arguments)
    assert last.exit_code == 0, last.stderr
    assert read_gallery(output).record.model.name == "new"
    assert list(tmp_path.iterdir()) == [output]


def test_a_map_is_fitted_certified_and_refused_where_it_loses(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "mapped.npz"
    with_faces = ("--faces", inputs / "faces", "--old-model", inputs / "old")
    arguments = (inputs / "old.npz", inputs / "new", "--by", "map", "-o", output)
    result = migrate(*arguments, *with_faces)
    assert result.exit_code == 0, result.stderr
    gallery = read_gallery(output)
    assert gallery.record.origin is not None
    assert gallery.record.origin.kind == "map"
    assert gallery.record.origin.figures["cosine_min"] > 0.999
    with Embedder.open(inputs / "new", threads=1) as embedder:
        faces = read_faces([inputs / "crops" / face for face in gallery.faces], embedder.contract)
        assert (gallery.embeddings * embedder.embed(faces)).sum(axis=1).min() > 0.999
    enrolled = migrate(*arguments, "--force", "--faces", inputs / "crops", "--old-model", inputs / "old")
    assert enrolled.exit_code == 1
    names(enrolled.stderr, "other people")
    strange = migrate(*arguments, "--force", "--faces", inputs / "faces", "--old-model", inputs / "new")
    assert strange.exit_code == 5
    names(strange.stderr, "old model")


def test_a_gallery_of_the_teacher_is_kept_by_the_certificate(tmp_path: Path) -> None:
    artifact, teacher = make_artifact(tmp_path / "artifact", name="student"), "0" * 64  # as its manifest says
    certificate = json.loads((Path(__file__).parents[1] / "data" / "certificate.json").read_text())
    model_sha256 = sha256_file(artifact / "model.onnx", expected="a model")
    certificate["binding"] |= {"model_sha256": model_sha256, "teacher_sha256": teacher}
    (artifact / "certificate.json").write_text(json.dumps(certificate))
    write_checksums(artifact)
    gallery = make_gallery(size=EMBEDDING_SIZE)
    known = dataclasses.replace(gallery.record.model, sha256=teacher)
    record = dataclasses.replace(gallery.record, model=known)
    write_gallery(tmp_path / "old.npz", dataclasses.replace(gallery, record=record))
    arguments = (tmp_path / "old.npz", artifact, "--by", "compatible", "-o", tmp_path / "new.npz", "--max-loss")
    strict = migrate(*arguments, 0)
    assert strict.exit_code == 3
    names(strict.stderr, "--max-loss")
    assert not (tmp_path / "new.npz").exists()
    result = migrate(*arguments, 100, "--json")
    assert result.exit_code == 0, result.stderr
    plan, found = (json.loads(result.stdout)[part] for part in ("plan", "result"))
    assert plan["ways"][0]["possible"]
    kept = read_gallery(tmp_path / "new.npz")
    assert np.array_equal(kept.embeddings, gallery.embeddings)
    assert kept.record.searched_by is not None
    assert kept.record.searched_by.thresholds == found["thresholds"] != {}
    with Embedder.open(artifact, threads=1) as embedder:
        assert kept.record.searched_by.model.sha256 == embedder.artifact.checksums["model.onnx"]


def test_what_does_not_fit_is_refused_before_work(inputs: Path, tmp_path: Path) -> None:
    gallery, new = inputs / "old.npz", inputs / "new"
    for arguments in (
        ("--by", "compatible"),
        ("--by", "re-embed", "-o", tmp_path / "x.npz"),
        ("--by", "map", "-o", tmp_path / "x.npz"),
        ("--faces", inputs / "faces"),
        ("--list", gallery),
        ("-o", tmp_path / "x.npz"),
        ("--allow-missing",),
        ("--by", "map", "--limit", "3", "-o", tmp_path / "x.npz", "--crops", inputs / "crops"),
        ("--by", "re-embed", "--crops", inputs / "crops", "-o", gallery),
        ("--by", "re-embed", "--crops", inputs / "crops", "--max-loss", "2", "-o", tmp_path / "x.npz"),
    ):
        result = migrate(gallery, new, *arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert "error: " in result.stderr.lower()
    assert migrate(gallery, new, "--by", "compatible", "-o", tmp_path / "x.npz").exit_code == 5
    write_gallery(tmp_path / "few.npz", read_gallery(gallery).take(np.arange(3)))
    assert migrate(inputs / "new" / "manifest.json", new).exit_code == 1
    assert not list(tmp_path.glob("x*"))


def test_a_table_becomes_a_gallery_of_the_old_model(inputs: Path, tmp_path: Path) -> None:
    old = read_gallery(inputs / "old.npz")
    rows = [
        f"{person};{face};{json.dumps((7 * embedding).tolist())}"
        for person, face, embedding in zip(old.people, old.faces, old.embeddings, strict=True)
    ]
    (tmp_path / "dump.csv").write_text("\n".join(["person;face;embedding", *rows]))
    arguments = (tmp_path / "dump.csv", inputs / "new", "--crops", inputs / "crops")
    plan = json.loads(migrate(*arguments, "--json").stdout)["plan"]
    assert plan["old"]["sha256"] is None
    result = migrate(*arguments, "--old-model", inputs / "old", "--json")
    assert json.loads(result.stdout)["plan"]["old"] == dataclasses.asdict(old.record.model)
    names(result.stderr, "enrolled")
    wrong = migrate(*arguments, "--old-model", inputs / "new")
    assert wrong.exit_code == 1  # its embeddings of the crops are others
    names(wrong.stderr, "cosine")
    assert os.listdir(tmp_path) == ["dump.csv"]  # noqa: PTH208
