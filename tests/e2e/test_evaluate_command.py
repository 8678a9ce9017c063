"""efq-evaluate as a user runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from artifacts import make_manifest, make_model, random_faces, reference_embeddings
from click.testing import CliRunner, Result
from messages import names
from numpy.typing import NDArray
from packed_pairs import write_set

from efq.export.artifact.writer import write_artifact
from efq.toolchain.evaluate_command import main
from efq.toolchain.evaluation import all_pairs, fold_accuracy, pair_similarities, tar_at_far
from efq.toolchain.evaluation.measure_search import measure_search
from efq.toolchain.evaluation.protocols.pair_lists.folds import contiguous_folds

PEOPLE, EACH = 12, 3
LABELS = np.repeat(np.arange(PEOPLE), EACH)


def draw_faces() -> NDArray[np.uint8]:
    """Three noisy images of each of twelve people, (36, 112, 112, 3)."""
    people = random_faces(PEOPLE).astype(np.float64)[LABELS]
    noise = np.random.default_rng(1).normal(scale=90.0, size=people.shape)
    return np.clip(people + noise, 0, 255).astype(np.uint8)


FACES = draw_faces()
PATHS = [f"people/p{label:02d}/{place % EACH}.png" for place, label in enumerate(LABELS)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faces")
    for path, face in zip(PATHS, FACES, strict=True):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / path), face[:, :, ::-1])
    return root


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("artifact") / "tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))


def export(directory: Path, training_hashes: Sequence[str] = ()) -> Path:
    manifest = make_manifest(coverage={})
    model = make_model(manifest)
    write_artifact(directory, model=model, manifest=manifest, training_hashes=training_hashes, parity=None, force=False)
    return directory


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--threads", 1)])


def evaluate_json(*arguments: object) -> dict[str, Any]:
    result = evaluate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def write_pairs(file: Path) -> tuple[Path, NDArray[np.int64], NDArray[np.int64]]:
    first, second = (np.array(places) for places in zip(*[(i, (i + 1) % 36) for i in range(36)], strict=True))
    lines = [
        f"{PATHS[i]}\t{PATHS[j]}\t{int(LABELS[i] == LABELS[j])}\t{i % 4}" for i, j in zip(first, second, strict=True)
    ]
    file.write_text("\n".join(lines))
    return file, first, second


def test_all_pairs_of_a_folder(artifact: Path, root: Path) -> None:
    report = evaluate_json(artifact, "--faces", root)
    expected = all_pairs(reference_embeddings(FACES).astype(np.float32), LABELS)
    found = report["all_pairs"]
    assert (found["images"], found["identities"]) == (36, PEOPLE)
    assert (found["genuine_pairs"], found["impostor_pairs"]) == (36, 594)
    assert [row["far"] for row in found["rows"]] == [1e-3, 1e-4, 1e-5]
    assert not any(row["enough_impostors"] for row in found["rows"])
    for row in found["rows"]:
        assert row["tar"]["value"] == tar_at_far(expected, row["far"]).tar
        assert row["tar"]["low"] <= row["tar"]["value"] <= row["tar"]["high"]
        assert row["fnmr"]["value"] == 1.0 - row["tar"]["value"]
        assert (row["fnmr"]["low"], row["fnmr"]["high"]) == (1.0 - row["tar"]["high"], 1.0 - row["tar"]["low"])
    assert expected.scores is not None
    assert found["eer"] == expected.scores.eer()
    curves = report["curves"]["model"]
    assert (sum(curves["genuine"]), sum(curves["impostor"])) == (36, 594)
    assert len(curves["fmr"]) == len(curves["fnmr"]) == len(curves["thresholds"])
    assert report["failure_to_enrol"]["rate"] == 0.0
    assert report["clean"]
    assert report["pairs"] == []
    assert report["reference"] is report["agreement"] is None


def test_rates_at_a_threshold_in_use(artifact: Path, root: Path) -> None:
    pairs = all_pairs(reference_embeddings(FACES).astype(np.float32), LABELS)
    lowest, highest = float(pairs.impostor[99:101].mean()), 0.9999
    arguments = (artifact, "--reference", artifact, "--faces", root, "--threshold", lowest, "--threshold", highest)
    report = evaluate_json(*arguments, "--bootstrap", 0)
    low, high = report["thresholds"]["model"]
    assert report["thresholds"]["reference"] == [low, high]
    assert (low["threshold"], low["false_matches"], low["enough_impostors"]) == (lowest, 100, True)
    assert low["fmr"]["value"] == 100 / 594
    assert low["fmr"]["low"] < 100 / 594 < low["fmr"]["high"]
    assert low["fnmr"]["value"] == pytest.approx((pairs.genuine <= np.float32(lowest)).mean())
    assert (high["false_matches"], high["enough_impostors"]) == (0, False)
    # 16.8 % of 594 pairs is a number; none of 594 is only known to be below 3 / 594.
    text = evaluate(*arguments).stdout
    names(text, "16.8", "0.505", 594, "FNMR")


def test_a_search_of_everybody_else(artifact: Path, root: Path) -> None:
    report = evaluate_json(artifact, "--faces", root, "--search")
    embeddings = reference_embeddings(FACES).astype(np.float32)
    (expected,) = measure_search([embeddings], LABELS)
    found = report["search"]
    assert (found["enrolled"], found["probes"]) == (PEOPLE, PEOPLE * (EACH - 1))
    assert [row["rank"] for row in found["ranks"]] == [1, 5]
    assert found["ranks"][0]["rate"]["value"] == expected.ranks[0].rate.value
    assert [row["enough_probes"] for row in found["rows"]] == [False] * 3
    text = evaluate(artifact, "--reference", artifact, "--faces", root, "--search").stdout
    names(text, f"{100 * expected.ranks[0].rate.value:.2f}", "rank-1", "FNIR@FPIR=1e-1", "probes")


@pytest.mark.parametrize("option", [("--threshold", 0.3), ("--search",)])
def test_figures_of_all_pairs_are_not_of_listed_ones(
    artifact: Path, root: Path, tmp_path: Path, option: tuple[object, ...]
) -> None:
    file, _, _ = write_pairs(tmp_path / "pairs.txt")
    result = evaluate(artifact, "--faces", root, "--pairs", file, *option)
    assert (result.exit_code, result.stdout) == (2, "")
    names(result.stderr, option[0], "--list")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_runtime_is_chosen_and_named(artifact: Path, root: Path, backend: str) -> None:
    pytest.importorskip(backend)
    assert evaluate_json(artifact, "--faces", root, "--backend", backend)["model"]["backend"] == backend
    names(evaluate(artifact, "--faces", root, "--backend", backend).stdout, backend)


def test_a_runtime_for_no_artifact_is_refused(root: Path, tmp_path: Path) -> None:
    result = evaluate(tmp_path / "student.pt", "--faces", root, "--backend", "openvino")
    assert result.exit_code == 2
    names(result.stderr, "--backend", tmp_path / "student.pt")


def test_pairs_against_a_reference(artifact: Path, root: Path, tmp_path: Path) -> None:
    file, first, second = write_pairs(tmp_path / "dev_pairs.txt")
    report = evaluate_json(artifact, "--reference", artifact, "--faces", root, "--pairs", file, "--bootstrap", 20)
    similarities = pair_similarities(reference_embeddings(FACES).astype(np.float32), first, second)
    expected = fold_accuracy(similarities, LABELS[first] == LABELS[second], first % 4)
    (found,) = report["pairs"]
    assert found["name"] == "dev_pairs"
    assert found["accuracy"]["value"] == pytest.approx(expected.accuracy)
    assert found["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert report["all_pairs"] is None
    assert report["agreement"]["cosine_min"] == pytest.approx(1.0, abs=1e-6)


def test_listed_pairs_and_all_pairs_in_one_table(artifact: Path, root: Path, tmp_path: Path) -> None:
    file, _, _ = write_pairs(root / "pairs.txt")
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(PATHS[:18]))
    result = evaluate(artifact, "--reference", artifact, "--faces", root, "--list", listing, "--pairs", file, "--flip")
    assert result.exit_code == 0, result.output
    names(result.stdout, "18 images", "6 identities", "mirror", "TAR@FAR=1e-3", "4-fold", "pairs", "100.0000 %")
    assert sum("tiny" in line and "36/36 images" in line for line in result.stderr.splitlines()) == 2


def test_paths_of_a_pairs_file_are_relative_to_its_folder(artifact: Path, root: Path) -> None:
    file, _, _ = write_pairs(root / "own_pairs.txt")
    assert evaluate_json(artifact, "--pairs", file, "--bootstrap", 0)["pairs"][0]["pairs"] == 36


def write_set_of(file: Path, root: Path) -> Path:
    """The pairs of `write_pairs` as a .bin, each image as often as a pair has it; folds are ten, in order."""
    ends = [path for i in range(36) for path in (PATHS[i], PATHS[(i + 1) % 36])]
    same = [bool(LABELS[i] == LABELS[(i + 1) % 36]) for i in range(36)]
    return write_set(file, [(root / path).read_bytes() for path in ends], same, protocol=2)


def test_a_set_gives_the_figures_of_the_folder(artifact: Path, root: Path, tmp_path: Path) -> None:
    """To the digit, intervals and agreement too; the images' hashes are those of the files."""
    packed = write_set_of(tmp_path / "toy.bin", root)
    file, first, second = write_pairs(tmp_path / "toy.txt")
    folds = contiguous_folds(36)
    rows = zip(first, second, folds, strict=True)
    file.write_text("\n".join(f"{PATHS[i]},{PATHS[j]},{int(LABELS[i] == LABELS[j])},{fold}" for i, j, fold in rows))
    options = ("--reference", artifact, "--bootstrap", 20, "--flip")
    found = evaluate_json(artifact, "--pairs", packed, *options)
    expected = evaluate_json(artifact, "--faces", root, "--pairs", file, *options)
    assert found == expected | {"faces": str(packed)}
    assert (found["images"], found["pairs"][0]["pairs"], found["pairs"][0]["name"]) == (36, 36, "toy")


def test_sets_and_lists_beside_each_other(artifact: Path, root: Path, tmp_path: Path) -> None:
    packed = write_set_of(tmp_path / "toy.bin", root)
    file, _, _ = write_pairs(tmp_path / "list.txt")
    report = evaluate_json(artifact, "--faces", root, "--pairs", packed, "--pairs", file, "--bootstrap", 0)
    assert [(pairs["name"], pairs["pairs"]) for pairs in report["pairs"]] == [("toy", 36), ("list", 36)]
    assert report["images"] == 72
    assert report["all_pairs"] is None


def test_a_set_is_given_as_pairs(artifact: Path, root: Path, tmp_path: Path) -> None:
    """As --faces it says of nobody who is on an image; beside it --faces would do nothing."""
    packed = write_set_of(tmp_path / "toy.bin", root)
    result = evaluate(artifact, "--faces", packed)
    assert (result.exit_code, result.stdout) == (1, "")
    names(result.stderr, packed, "--pairs")
    result = evaluate(artifact, "--faces", root, "--pairs", packed)
    assert (result.exit_code, result.stdout) == (2, "")
    names(result.stderr, root, packed, "--faces")


def test_images_it_was_trained_on_are_refused(root: Path, tmp_path: Path) -> None:
    hashes = [hashlib.sha256((root / path).read_bytes()).hexdigest()[:16] for path in PATHS[:5]]
    trained = export(tmp_path / "trained", hashes)
    result = evaluate(trained, "--faces", root)
    assert result.exit_code == 2
    names(result.stderr.partition("error: ")[2], 5, 36, "people/p00/0.png", "--allow-training-images")
    assert result.stdout == ""
    report = evaluate_json(trained, "--faces", root, "--allow-training-images")
    assert not report["clean"]
    assert report["model"]["training_images"] == 5
    names(evaluate(trained, "--faces", root, "--allow-training-images").stdout, "fine-tuned")


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        ([], 2, ("--faces", "--pairs")),
        (["--list", "list.txt", "--pairs", "pairs.txt"], 2, ("--faces", "--list")),
        (["--pairs", "a/pairs.txt", "--pairs", "b/pairs.txt"], 1, ("a/pairs.txt",)),
        (["--faces", "missing"], 1, ("missing",)),
        (["--pairs", "missing.txt"], 1, ("missing.txt",)),
    ],
)
def test_wrong_arguments(artifact: Path, arguments: list[str], code: int, facts: tuple[str, ...]) -> None:
    result = evaluate(artifact, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    names(result.stderr, *facts)
    assert "Traceback" not in result.stderr


def test_unreadable_images_are_counted(artifact: Path, root: Path) -> None:
    broken = root / "people" / "p00" / "9.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    try:
        report = evaluate_json(artifact, "--faces", root, "--bootstrap", 0)
    finally:
        broken.unlink()
    assert report["unreadable"] == ["people/p00/9.jpg"]
    failure, (row, *_) = report["failure_to_enrol"], report["all_pairs"]["rows"]
    assert (failure["images"], failure["failed"], failure["rate"]) == (37, 1, 1 / 37)
    expected = 1 - (36 / 37) ** 2 * (1 - row["fnmr"]["value"])
    assert failure["generalized_fnmr"]["1e-3"] == pytest.approx(expected)
    assert report["all_pairs"]["images"] == 36


@pytest.mark.faces
def test_a_set_of_real_faces_gives_the_figures_of_the_folder(faces_root: Path, tmp_path: Path) -> None:
    """Twenty pairs of each kind: what was drawn may be too easy for a difference to show."""
    lines = (faces_root / "splits" / "dev_lfw_pairs.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    kinds = [[row for row in rows if row[2] == label][:20] for label in ("1", "0")]
    chosen = [row for both in zip(*kinds, strict=True) for row in both]
    images = [(faces_root / path).read_bytes() for row in chosen for path in row[:2]]
    packed = write_set(tmp_path / "lfw.bin", images, [row[2] == "1" for row in chosen], protocol=2)
    named = ["\t".join([*row[:3], str(place // 4)]) for place, row in enumerate(chosen)]
    (tmp_path / "lfw.txt").write_text("\n".join(named), encoding="utf-8")
    teacher, options = faces_root / "weights" / "mobilefacenet_y1.pt", ("--bootstrap", 20)
    found = evaluate_json(teacher, "--pairs", packed, *options)
    expected = evaluate_json(teacher, "--faces", faces_root, "--pairs", tmp_path / "lfw.txt", *options)
    assert found == expected | {"faces": str(packed)}
    assert found["pairs"][0]["accuracy"]["value"] > 0.9
