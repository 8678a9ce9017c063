"""efq-evaluate --ijb as a user runs it."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_artifact, random_faces, reference_embeddings
from click.testing import CliRunner, Result
from ijb_folder import Row, write_face, write_ijb
from messages import names
from numpy.typing import NDArray

from efq.runtime.artifact.folder import write_checksums
from efq.toolchain.evaluate_command import main

TEMPLATES = np.repeat(np.arange(1, 31), 4)
MEDIAS = np.tile([1, 1, 2, 3], 30)
SUBJECTS = {template: template % 6 for template in range(1, 31)}
SCORES = np.random.default_rng(2).uniform(0.2, 1.0, len(TEMPLATES)).round(3)
PAIRS = [(one, other, int(SUBJECTS[one] == SUBJECTS[other])) for one, other in itertools.combinations(range(1, 31), 2)]
GALLERIES = ({1: 1, 2: 2, 3: 3}, {4: 4, 5: 5, 6: 0})
PROBES = {template: SUBJECTS[template] for template in range(7, 31)}


def draw_faces() -> NDArray[np.uint8]:
    """Noisy images of six people, (120, 112, 112, 3)."""
    people = random_faces(6).astype(np.float64)[[SUBJECTS[template] for template in TEMPLATES]]
    noise = np.random.default_rng(1).normal(scale=160.0, size=people.shape)
    return np.clip(people + noise, 0, 255).astype(np.uint8)


FACES = draw_faces()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("ijb") / "IJBC")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact") / "tiny", training_data=True)


def write_folder(root: Path) -> Path:
    """In another order than that of the templates, as the benchmark's own lists may be."""
    order = np.random.default_rng(3).permutation(len(FACES))
    rows = [
        Row(
            name=f"{place}.png",
            template=int(TEMPLATES[place]),
            media=int(MEDIAS[place]),
            face=FACES[place],
            score=float(SCORES[place]),
        )
        for place in order
    ]
    return write_ijb(root, rows, pairs=PAIRS, galleries=GALLERIES, probes=PROBES)


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--threads", 1)])


def evaluate_json(*arguments: object) -> dict[str, Any]:
    result = evaluate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def templates(mode: str) -> NDArray[np.float64]:
    """Of the tiny model in NumPy and float64: rows of templates 1 to 30."""
    features, mirrored = reference_embeddings(FACES), reference_embeddings(FACES[:, :, ::-1])
    if mode[5] == "2":
        features = features + mirrored
    elif mode[5] == "1":
        features = np.concatenate([features, mirrored], axis=1)
    if mode[1] == "0":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    if mode[3] == "1":
        features = features * SCORES[:, None]
    grouped = features.reshape(30, 4, -1)
    sums = grouped[:, :2].mean(axis=1) + grouped[:, 2] + grouped[:, 3]
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))


@pytest.mark.parametrize("mode", ["N1D1F2", "N0D1F1", "N0D0F0"])
def test_figures_are_those_of_the_embeddings(artifact: Path, folder: Path, mode: str) -> None:
    report = evaluate_json(artifact, "--ijb", folder, "--ijb-mode", mode)
    features = templates(mode)
    similarities = features @ features.T
    genuine = np.array([similarities[one - 1, other - 1] for one, other, same in PAIRS if same])
    impostor = np.sort([similarities[one - 1, other - 1] for one, other, same in PAIRS if not same])[::-1]
    assert (report["benchmark"], report["mode"], report["images"], report["templates"]) == ("IJB-C", mode, 120, 30)
    assert (report["failed_images"], report["failed_templates"], report["clean"]) == ([], [], True)
    found = report["verification"]
    assert (found["genuine_pairs"], found["impostor_pairs"]) == (60, 375)
    for row in found["rows"]:
        threshold = impostor[int(row["far"] * len(impostor))]
        assert row["threshold"] == pytest.approx(threshold, abs=1e-5)
        assert row["tar"]["model"] == pytest.approx((genuine > threshold + 1e-5).mean())
        assert row["enough_impostors"] == (row["far"] == 0.1)
    for gallery, result in zip(GALLERIES, report["searches"], strict=False):
        enrolled = [template - 1 for template in gallery]
        hits = [
            gallery[enrolled[int(np.argmax(similarities[probe - 1, enrolled]))] + 1] == subject
            for probe, subject in PROBES.items()
            if subject in gallery.values()
        ]
        assert (result["mated"], result["nonmated"]) == (12, 12)
        assert result["ranks"][0]["identified"]["model"] == pytest.approx(np.mean(hits))
    assert [result["gallery"] for result in report["searches"]][-1] == "mean of 2 galleries"


def test_a_table_beside_a_reference(artifact: Path, folder: Path) -> None:
    result = evaluate(artifact, "--reference", artifact, "--ijb", folder.parent)
    assert result.exit_code == 0, result.output
    names(result.stdout, "IJB-C", "N1D1F2", "120 images", "30 templates", "TAR@FAR=1e-1, 1:1", "375 impostor")
    names(result.stdout, "rank 1, gallery G1", "FNIR@FPIR=0.1, mean of 2 galleries", "+0.00", "reference")
    names(result.stderr, "120/120 images")


def test_what_fails_is_named_and_counts(artifact: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "IJBC")
    for place in np.flatnonzero(TEMPLATES == 30):
        write_face(folder / "loose_crop" / f"{place}.png", None)
    (folder / "loose_crop" / "0.png").unlink()
    report = evaluate_json(artifact, "--ijb", folder)
    assert report["failed_templates"] == [30]
    assert sorted(report["failed_images"]) == ["0.png", "116.png", "117.png", "118.png", "119.png"]
    assert report["verification"]["failed_genuine_pairs"] == 4
    assert [result["failed_mated"] for result in report["searches"]] == [0, 1, 1]
    table = evaluate(artifact, "--ijb", folder)
    names(table.stdout, "5 images", "1 templates", 30)
    names(table.stderr, "116.png")


def test_training_images_are_refused(folder: Path, tmp_path: Path) -> None:
    trained = make_artifact(tmp_path / "trained")
    digest = hashlib.sha256((folder / "loose_crop" / "7.png").read_bytes()).hexdigest()[:16]
    (trained / "training_data.json").write_text(json.dumps({"images": 1, "sha256_prefixes": [digest]}))
    write_checksums(trained)
    result = evaluate(trained, "--ijb", folder)
    assert result.exit_code == 2
    names(result.stderr, "7.png", "--allow-training-images")
    report = evaluate_json(trained, "--ijb", folder, "--allow-training-images")
    assert (report["clean"], report["model"]["training_images"]) == (False, 1)


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--faces", "x"], "--faces"),
        (["--list", "x"], "--list"),
        (["--pairs", "x"], "--pairs"),
        (["--identity-level", "1"], "--identity-level"),
        (["--flip"], "--flip"),
        (["--resize"], "--resize"),
        (["--bootstrap", "10"], "--bootstrap"),
        (["--ijb-mode", "N1D1F1"], "N1D1F1"),
        (["--ijb-mode", "all"], "all"),
    ],
)
def test_options_that_do_nothing_are_refused(artifact: Path, folder: Path, options: list[str], fact: str) -> None:
    result = evaluate(artifact, "--ijb", folder, *options)
    assert result.exit_code == 2
    names(result.stderr, fact)
    assert result.stdout == ""


def test_a_mode_alone_and_a_folder_of_something_else_are_refused(artifact: Path, tmp_path: Path) -> None:
    result = evaluate(artifact, "--faces", tmp_path, "--ijb-mode", "N0D0F0")
    assert result.exit_code == 2
    names(result.stderr, "--ijb-mode", "--ijb")
    result = evaluate(artifact, "--ijb", tmp_path)
    assert result.exit_code == 1
    names(result.stderr, tmp_path, "ijbc_face_tid_mid.txt")
