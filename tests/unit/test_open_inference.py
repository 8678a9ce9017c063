"""Messages of the Open Inference Protocol: what is written is read, and anything else is refused in words."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from fuzz_inference import KINDS, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime.errors import InputError
from efq.runtime.open_inference.datatypes import DATATYPES, datatype_of
from efq.runtime.open_inference.messages import (
    HEADER_BYTES,
    HEADER_LENGTH,
    Message,
    read_request,
    read_response,
    write_request,
    write_response,
)
from efq.runtime.open_inference.tensors import TensorSpec

SPEC = TensorSpec(name="images", datatype="UINT8", shape=(None, 2, 2, 3), most_bytes=96)
ANSWER = TensorSpec(name="embeddings", datatype="FP32", shape=(2, 4), most_bytes=32)


def request(**changes: Any) -> bytes:
    """A sound request in JSON with other values of its input."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": list(range(12))} | changes
    return json.dumps({"inputs": [{key: value for key, value in tensor.items() if value is not ...}]}).encode()


def read(body: bytes, header_length: str | None = None) -> np.ndarray:
    return read_request(body, header_length, spec=SPEC, output_name="embeddings").images


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = DATATYPES[draw(st.sampled_from(sorted(DATATYPES)))]
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    content = draw(st.binary(min_size=dtype.itemsize * math.prod(shape), max_size=dtype.itemsize * math.prod(shape)))
    if dtype.kind == "b":
        return (np.frombuffer(content, np.uint8) % 2).astype(bool).reshape(shape)
    found = np.frombuffer(content, dtype).reshape(shape)
    return np.where(np.isfinite(found), found, 1).astype(dtype) if dtype.kind == "f" else found


@settings(deadline=None)
@given(values=arrays(), binary=st.booleans())
def test_any_tensor_comes_back(values: np.ndarray, binary: bool) -> None:
    message = write_request(values, input_name="x", output_name="y", binary=binary)
    spec = TensorSpec(name="x", datatype=datatype_of(values.dtype), shape=values.shape, most_bytes=values.nbytes)
    found = read_request(message.body, message.headers.get(HEADER_LENGTH), spec=spec, output_name="y")
    assert found.binary == binary
    assert found.images.dtype == values.dtype
    np.testing.assert_array_equal(found.images, values)


@given(binary=st.booleans(), name=st.text(min_size=1, max_size=20), seed=st.integers(0, 99))
def test_a_response_comes_back(binary: bool, name: str, seed: int) -> None:
    body = json.loads(request())
    body |= {"id": name, "parameters": {"binary_data_output": binary}}
    asked = read_request(json.dumps(body).encode(), None, spec=SPEC, output_name="embeddings")
    rows = np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)
    message = write_response(rows, asked, output_name="embeddings", model="m", version="1", parameters={"a": "b"})
    found = read_response(message.body, message.headers.get(HEADER_LENGTH), spec=ANSWER)
    assert found.embeddings.tobytes() == rows.tobytes()
    assert (found.id, found.version, dict(found.parameters)) == (name, "1", {"a": "b"})


def test_nested_data_are_read() -> None:
    values = np.arange(24).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(read(request(shape=[2, 2, 2, 3], data=values.tolist())), values)


def test_an_output_overrules_all() -> None:
    body = json.loads(request()) | {"parameters": {"binary_data_output": True}}
    body["outputs"] = [{"name": "embeddings", "parameters": {"binary_data": False}}]
    assert not read_request(json.dumps(body).encode(), None, spec=SPEC, output_name="embeddings").binary


@pytest.mark.parametrize(
    "changes",
    [
        *({"shape": [size, 2, 2, 3]} for size in (0, -1, True, 1.0, 10**30, 2**62, 9, [1], None)),
        *({"shape": shape} for shape in ([1, 2, 2, 3, 1], [12], "1", None, {}, [1, 2, 2, None])),
        *({"datatype": value} for value in ("UINT16", "uint8", "BYTES", None, 8, [])),
        *({"name": value} for value in ("image", "", None, "x" * 300, ["images"])),
        *({"data": value} for value in (None, ..., 1, "abc", {}, [], [1] * 11, [1] * 13, [[1] * 12])),
        *({"data": [value] * 12} for value in (-1, 256, 10**400, 1.0, True, None, "1", [1], {})),
        *({"data": value} for value in ([[[[1, 2, 3], [1, 2]]] * 2], [[[[1, 2, 3]]] * 4], [[[[1, 2, 3]] * 2, 1]])),
        *({"parameters": value} for value in (None, [], {"binary_data_size": 12}, {"binary_data_size": []})),
        *({"data": ..., "parameters": {"binary_data_size": n}} for n in (0, 12, -12, 11, 12.0, True, "12", 10**30)),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit(changes: dict[str, Any]) -> None:
    with raises_naming(InputError, "expected"):
        read(request(**changes))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"1", b"\xff", b"{}", b'{"inputs": []}', b'{"inputs": {}}', b'{"inputs": [1]}', b"null"),
        *(b"[" * 100_000, b'{"inputs":' * 50_000, b'{"inputs": [' + b"[]," * 10**6 + b"1]}"),
        request().replace(b"11", b"NaN"),
        request().replace(b"11", b"9" * 5000),
        request().replace(b'{"inputs"', b'{"id": 7, "inputs"'),
        request().replace(b'{"inputs"', b'{"inputs": [], "inputs"'),
        request().replace(b'{"inputs"', b'{"outputs": [{"name": "other"}], "inputs"'),
        request().replace(b'{"inputs"', b'{"outputs": [1, 2], "inputs"'),
        request().replace(b'{"inputs"', b'{"parameters": {"binary_data_output": 1}, "inputs"'),
        request() + b" " * HEADER_BYTES * 2,
        json.dumps({"inputs": json.loads(request())["inputs"] * 2}).encode(),
    ],
    ids=repr,
)
def test_requests_that_are_none(body: bytes) -> None:
    with raises_naming(InputError, "expected"):
        read(body)


def binary_request(size: int = 12, told: int = 12) -> tuple[bytes, str]:
    text = request(data=..., parameters={"binary_data_size": told})
    return text + bytes(size), str(len(text))


@pytest.mark.parametrize("size", [0, 11, 13, 100_000])
def test_other_bytes_than_said(size: int) -> None:
    body, length = binary_request(size)
    with raises_naming(InputError, 12, f"{size:,}"):
        read(body, length)


@pytest.mark.parametrize("length", ["0", "-1", "1e2", "", " ", "9" * 30, "100000", "1", "²", "0x10"])
def test_lengths_of_headers_that_are_none(length: str) -> None:
    with pytest.raises(InputError):
        read(binary_request()[0], length)


def test_tensors_are_not_copied() -> None:
    body, length = binary_request()
    found = read(body, length)
    assert not found.flags.writeable
    assert np.shares_memory(found, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(value: float) -> None:
    rows = np.full((2, 4), value, np.float32)
    text = {
        "outputs": [{"name": "embeddings", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}}]
    }
    message = Message.of(text, [rows.tobytes()])
    with raises_naming(InputError, "embeddings"):
        read_response(message.body, message.headers[HEADER_LENGTH], spec=ANSWER)


@pytest.mark.parametrize("value", ["1e39", "1e999", "9" * 400])
def test_numbers_that_a_float_does_not_hold(value: str) -> None:
    text = '{"outputs": [{"name": "embeddings", "datatype": "FP32", "shape": [2, 4], "data": [%s]}]}'
    with raises_naming(InputError, "embeddings"):
        read_response((text % ",".join([value] * 8)).encode(), None, spec=ANSWER)


def test_a_byte_that_is_no_bool() -> None:
    spec = TensorSpec(name="x", datatype="BOOL", shape=(1,), most_bytes=1)
    header = {"name": "x", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}}
    message = Message.of({"inputs": [header]}, [b"\x02"])
    with raises_naming(InputError, "x"):
        read_request(message.body, message.headers[HEADER_LENGTH], spec=spec, output_name="y")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_messages(kind: str) -> None:
    outcomes = {outcome for _, outcome in cases(kind, 200, 0)}
    assert outcomes <= {"read", "refused"}
    assert "refused" in outcomes
