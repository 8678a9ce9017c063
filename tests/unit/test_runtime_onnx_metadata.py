"""Metadata of ONNX files against the onnx package."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest
from artifacts import make_manifest, make_model
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming
from onnx import helper

from efq.runtime import IncompatibleArtifactError
from efq.runtime.artifact.onnx_metadata import read_onnx_metadata

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(properties=st.dictionaries(TEXT, TEXT, max_size=5))
def test_what_onnx_wrote_is_read(properties: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    model = make_model(make_manifest())
    helper.set_model_props(model, properties)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_onnx_metadata(path) == properties


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    data = make_model(make_manifest()).SerializeToString()
    path = tmp_path / "model.onnx"
    for wrong in (data[:-5], b"\xff" * 64, b"\x80"):
        path.write_bytes(wrong)
        with raises_naming(IncompatibleArtifactError, path, "efq-export"):
            read_onnx_metadata(path)
    with raises_naming(IncompatibleArtifactError, tmp_path / "none.onnx", os.strerror(errno.ENOENT)):
        read_onnx_metadata(tmp_path / "none.onnx")


@given(data=st.binary(max_size=200))
def test_any_bytes_end_in_a_dictionary_or_a_typed_error(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bytes") / "model.onnx"
    path.write_bytes(data)
    with contextlib.suppress(IncompatibleArtifactError):
        assert isinstance(read_onnx_metadata(path), dict)
