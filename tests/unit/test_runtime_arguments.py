"""What Python callers give is of the type and in the range that is taken, or a UsageError that says what is."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efq.runtime import (
    Aligner,
    Artifact,
    Embedder,
    InputContract,
    InputError,
    Interface,
    Manifest,
    RemoteEmbedder,
    SchemaError,
    UsageError,
    align,
    decode_image,
    open_gallery,
    read_image,
)
from efq.runtime.arguments import flag, instance_of, number, path_of, whole_number
from efq.runtime.detection import Detector

NO_NUMBERS = ["0.3", b"0.3", None, True, np.True_, float("nan"), float("inf"), [0.3], np.array([0.3]), 1j, 10**400]
FIVE_POINTS = [(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)]


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), Fraction(1, 2)])
def test_what_is_plainly_a_number(value: object) -> None:
    found = number(value, "a share", least=0, most=1)
    assert (found, type(found)) == (0.5, float)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, 2], ids=repr)
def test_what_is_no_number_in_the_range(value: object) -> None:
    with pytest.raises(UsageError, match="expected a share, found"):
        number(value, "a share", least=0, most=1)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_what_is_plainly_a_whole_number(value: object) -> None:
    found = whole_number(value, "a count", least=1)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("value", [*NO_NUMBERS[:-1], 0, 3.0, np.float64(3), 6], ids=repr)
def test_what_is_no_whole_number_in_the_range(value: object) -> None:
    with pytest.raises(UsageError, match="expected a count, found"):
        whole_number(value, "a count", least=1, most=5)


def test_flags_paths_and_kinds() -> None:
    assert flag(np.True_, "create") is True
    assert path_of("a", "a file") == path_of(Path("a"), "a file") == Path("a")
    assert instance_of("a", str, "text") == "a"
    for call in (
        lambda: flag("no", "create"),
        lambda: flag(None, "create"),
        lambda: path_of(None, "a file"),
        lambda: path_of(b"a", "a file"),
        lambda: path_of(3, "a file"),
        lambda: instance_of(b"a", str, "text"),
    ):
        with pytest.raises(UsageError, match="expected"):
            call()


@pytest.mark.parametrize("place", [None, 1, b"artifact", ["artifact"], object()], ids=type)
def test_places_that_are_no_paths(
    place: Any, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[Callable[[], object]] = [
        lambda: Embedder.open(place),
        lambda: Artifact.open(place),
        lambda: Detector.open(place),
        lambda: read_image(place),
        lambda: Aligner(place, InputContract()),
        lambda: open_gallery(place, Artifact.open(tiny_artifact)),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="expected the path of"):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"device": 1},
        {"device": ["cpu"]},
        {"threads": "2"},
        {"threads": 1.5},
        {"threads": True},
        {"backend": None},
        {"tolerance": "0.01"},
        {"tolerance": float("nan")},
        {"lean": "no"},
        {"rebuild": None},
        {"progress": None},
    ],
    ids=repr,
)
def test_options_of_an_embedder(options: dict[str, Any], tiny_artifact: Path) -> None:
    with pytest.raises(UsageError, match="expected"):
        Embedder.open(tiny_artifact, **({"threads": 1} | options))


def test_numbers_of_numpy_open_an_embedder(tiny_artifact: Path) -> None:
    with Embedder.open(tiny_artifact, threads=np.int64(1), tolerance=np.float32(0.01)) as embedder:  # type: ignore[arg-type]
        assert embedder.embedding_size > 0


@pytest.mark.parametrize("artifact", [None, "artifact", Path("artifact"), 1])
def test_a_gallery_asks_for_an_artifact(artifact: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Artifact\.open"):
        open_gallery(tmp_path / "gallery.db", artifact)
    assert list(tmp_path.iterdir()) == []


def test_files_of_an_artifact_by_their_names(tiny_artifact: Path) -> None:
    artifact = Artifact.open(tiny_artifact)
    assert artifact.read("manifest.json")
    for name in (None, 1, b"model.onnx", "checksums.sha256", "../manifest.json"):
        with pytest.raises(UsageError, match=r"manifest\.json"):
            artifact.read(name)  # type: ignore[arg-type]


def test_bytes_of_an_image() -> None:
    import cv2

    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    encoded = cv2.imencode(".png", picture)[1]
    for data in (encoded.tobytes(), bytearray(encoded.tobytes()), memoryview(encoded.tobytes())):
        assert (decode_image(data, name="x") == picture[..., ::-1]).all()
    for wrong in (None, "x.png", 1, encoded, [1, 2], Path("x.png")):
        with pytest.raises(UsageError, match="expected the bytes of an image file"):
            decode_image(wrong, name="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [float("nan"), None, "5", 0, 1e9], ids=repr)
def test_a_limit_of_pixels_is_a_whole_number(most: Any) -> None:
    with pytest.raises(UsageError, match="most_pixels"):
        decode_image(b"\x89PNG", name="x", most_pixels=most)


def test_faces_are_aligned_for_a_contract() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert align(photo, FIVE_POINTS, contract=InputContract()).shape == (112, 112, 3)
    for contract in ("artifact", 1, {}):
        with pytest.raises(UsageError, match="contract"):
            align(photo, FIVE_POINTS, contract=contract)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="landmarks"):
        align(photo, np.array(FIVE_POINTS, complex))


@pytest.mark.parametrize(
    "options",
    [
        {"url": 1},
        {"url": None},
        {"timeout": "1"},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": 0},
        {"tries": "1"},
        {"tries": 1.5},
        {"tries": 0},
        {"model": 1},
        {"version": 1},
        {"api_key": b"key"},
        {"interface": 1},
        {"artifact": 1},
        {"binary": "yes"},
    ],
    ids=repr,
)
def test_options_of_a_remote_embedder(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        RemoteEmbedder.open(**({"url": "http://127.0.0.1:1", "tries": 1, "timeout": 0.2} | options))


def test_records_of_other_types() -> None:
    for value in (None, 1, b"{}"):
        with pytest.raises(SchemaError):
            Manifest.from_json(value)  # type: ignore[arg-type]
        with pytest.raises(SchemaError):
            InputContract.from_dict(value)  # type: ignore[arg-type]
        with pytest.raises(SchemaError):
            Interface.from_dict(value)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            Interface.parse(value)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Interface(form="float-nchw", normalization="raw")  # type: ignore[arg-type]
