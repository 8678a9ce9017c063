"""training_data.json, as this version and older ones write it, and as nobody should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime.artifact.training_data import TrainingData
from efq.runtime.errors import InputError, SchemaError

PREFIXES = st.frozensets(st.text("0123456789abcdef", min_size=16, max_size=16), max_size=4)


@given(PREFIXES, st.none() | PREFIXES, st.none() | st.lists(st.binary(min_size=32, max_size=32), max_size=3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    files: frozenset[str],
    pixels: frozenset[str] | None,
    near: list[bytes] | None,
) -> None:
    data = TrainingData(files=files, pixels=pixels, near=None if near is None else b"".join(near))
    path = tmp_path_factory.mktemp("data") / "training_data.json"
    path.write_text(data.to_json(7))
    assert json.loads(path.read_text())["images"] == 7
    assert TrainingData.read(path) == data


def test_older_files_and_other_schemes_know_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "training_data.json"
    other = {"scheme": "gray-phash-9", "sha256_prefixes": [7]}
    for more in ({}, {"pixels": other}, {"near": other}, {"near": other, "pixels": other}):
        path.write_text(json.dumps({"images": 1, "sha256_prefixes": ["0123456789abcdef"], **more}))
        assert TrainingData.read(path) == TrainingData(files=frozenset({"0123456789abcdef"}), pixels=None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "7", "{}", '{"sha256_prefixes": 7}', '{"sha256_prefixes": [[]]}', '{"sha256_prefixes": ["0123"]}'),
        '{"sha256_prefixes": [], "pixels": {"scheme": "rgb8-sha256-1"}}',
        '{"sha256_prefixes": [], "pixels": {"scheme": "rgb8-sha256-1", "sha256_prefixes": [null]}}',
        *(f'{{"images": 0, "sha256_prefixes": [], "near": {near}}}' for near in ("7", '["AA=="]', "[]")),
        *(
            f'{{"images": 0, "sha256_prefixes": [], "near": {{"scheme": "luma-dct-256-1", "hashes": {hashes}}}}}'
            for hashes in ("null", "7", '"?"', '"AAAA"', '"\u00e9"', '["AA=="]')
        ),
    ],
)
def test_what_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "training_data.json").write_text(text)
    with raises_naming(SchemaError, tmp_path / "training_data.json"):
        TrainingData.read(tmp_path / "training_data.json")


def test_only_prefixes_are_written() -> None:
    with raises_naming(InputError, "SHA-256", "0123"):
        TrainingData(files=frozenset({"0123"}), pixels=None)
    with raises_naming(InputError, 32, 33):
        TrainingData(files=frozenset(), near=bytes(33))
