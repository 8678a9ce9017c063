"""Files given as checkpoints: a sentence for each other format, and nothing that runs, swells or is read wrongly."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import names, raises_naming
from onnx import TensorProto, helper
from torch import nn

from efq.runtime.errors import CheckpointError
from efq.runtime.file_kinds import ONNX, kind_of_bytes
from efq.toolchain.backbones import load_backbone, read_checkpoint
from efq.toolchain.networks import network_kind
from efq.toolchain.teachers import open_teacher


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def zipped(*records: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in records:
            archive.writestr(name, data)
    return buffer.getvalue()


def with_pickle(data: bytes, memory: bytes = b"") -> bytes:
    """A torch file whose plain values are the pickle `data`."""
    records = [("a/data.pkl", data), ("a/byteorder", b"little"), ("a/version", b"3\n")]
    return zipped(*records, *([("a/data/0", memory)] if memory else []))


def scripted() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # TorchScript is deprecated, its files are there
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 1)), buffer)
    return buffer.getvalue()


def field(number: int, content: bytes | int) -> bytes:
    """Of a protobuf message: a short text or message, or a small number."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def onnx_model() -> bytes:
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", sides[:1], sides[1:])
    return bytes(helper.make_model(graph, producer_name="test").SerializeToString())


def tar_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def numpy_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


FILES: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "model.onnx": (onnx_model, ("ONNX",)),
    "pointer.pt": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", ("git lfs pull",)),
    "page.pth": (lambda: b"<!DOCTYPE html><html><body>Sign in", ("HTML", "download")),
    "model.h5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(600), ("HDF5", "ONNX")),
    "model.tflite": (lambda: b"\x1c\0\0\0TFL3" + bytes(600), ("TensorFlow", "ONNX")),
    "scripted.pt": (scripted, ("TorchScript", "state dict")),
    "model.mar": (lambda: zipped(("MAR-INF/MANIFEST.json", b"{}")), ("TorchServe", "unpack")),
    "model.keras": (lambda: zipped(("config.json", b"{}"), ("model.weights.h5", b"x")), ("Keras", "ONNX")),
    "arrays.npz": (numpy_archive, ("numpy",)),
    "archive.zip": (lambda: zipped(("readme.txt", b"x")), ("zip", "unpack")),
    "weights.safetensors": (lambda: struct.pack("<Q", 2) + b'{"a":{}}' + bytes(600), ("safetensors",)),
    "legacy.tar": (lambda: tar_of("sys_info"), ("tar",)),
    "exported.pt2": (lambda: zipped(("m/archive_format", b"pt2"), ("m/version", b"0")), ("torch.export", "state_dict")),
    "older.pt2": (lambda: zipped(("serialized_exported_program.json", b"{}")), ("torch.export", "state_dict")),
    "model.engine": (lambda: b"ftrt" + bytes(600), ("TensorRT", "ONNX")),
    "model.xml": (lambda: b'<?xml version="1.0"?>\n<net name="m" version="11">' + b" " * 600, ("OpenVINO", "ONNX")),
    "model.mlmodel": (lambda: field(1, 4) + field(2, field(1, field(1, b"image"))) + bytes(600), ("Core ML", "ONNX")),
    "frozen.pb": (lambda: field(1, field(1, b"input") + field(2, b"Placeholder")) + bytes(600), ("TensorFlow", "ONNX")),
    "model.pdiparams": (
        lambda: bytes(16) + struct.pack("<i", 8) + b"\x08\x05\x10\x40" + bytes(600),
        ("Paddle", "ONNX"),
    ),
    "model.param": (lambda: b"7767517\n75 83\n" + b" " * 600, ("ncnn", "ONNX")),
    "model.rknn": (lambda: b"RKNN" + bytes(600), ("Rockchip", "ONNX")),
    "model.ort": (lambda: b"\x1c\0\0\0ORTM" + bytes(600), ("ONNX Runtime",)),
    "model.params": (lambda: struct.pack("<QQ", 0x112, 0) + bytes(600), ("MXNet", "ONNX")),
    "weights.pt.gz": (lambda: gzip.compress(saved({"a": torch.zeros(3)})), ("gzip", "unpack")),
    "face.jpg": (lambda: b"\xff\xd8\xff\xe0" + bytes(600), ("JPEG",)),
    "empty.pt": (lambda: b"", ("empty",)),
    "zeros.pt": (lambda: bytes(4096), ("zeros",)),
    "text.pt": (lambda: b"hello, this is no network", ()),
    "plain.pkl": (lambda: pickle.dumps({"a": 1}, protocol=2), ("pickle",)),
    "array.pkl": (lambda: pickle.dumps(np.zeros(3)), ()),
}
OPENED_LATER = (
    "model.onnx",
    "model.mar",
    "model.keras",
    "arrays.npz",
    "archive.zip",
    "weights.safetensors",
    "array.pkl",
    "exported.pt2",
)
FOREIGN_WORDS = re.compile(r"weights_only|re-run|\x1b|0x[0-9a-f]{6}|WeightsUnpickler|Traceback|pickle_module")


@pytest.mark.parametrize("name", FILES)
def test_every_other_format_has_its_sentence(name: str, tmp_path: Path) -> None:
    make, facts = FILES[name]
    path = tmp_path / name
    path.write_bytes(make())
    for read in (read_checkpoint, network_kind, load_backbone):
        if read is network_kind and name in OPENED_LATER:
            continue  # some zip or arrays: whether they are a network's is asked when they are opened
        with raises_naming(CheckpointError, path, *facts) as caught:
            read(path)
        assert not FOREIGN_WORDS.search(str(caught.value))


@pytest.mark.parametrize(
    ("entry", "facts"),
    [
        ("saved_model.pb", ("TensorFlow SavedModel", "tf2onnx")),
        ("Data/com.apple.CoreML/model.mlmodel", ("Core ML", "ONNX")),
        (".metadata", ("distributed checkpoint", "dcp_to_torch")),
        ("model.safetensors", ("model.safetensors",)),
        ("pytorch_model.bin", ("pytorch_model.bin",)),
    ],
)
def test_folders_of_other_tools(entry: str, facts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "model" / entry).parent.mkdir(parents=True)
    (tmp_path / "model" / entry).write_bytes(b"x")
    for read in (open_teacher, network_kind):
        with raises_naming(CheckpointError, tmp_path / "model", *facts):
            read(tmp_path / "model")


def test_a_checkpoint_in_parts(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    for path in (tmp_path / "model.safetensors.index.json", tmp_path):
        with raises_naming(CheckpointError, path, "parts", "join them"):
            open_teacher(path)


@pytest.mark.parametrize("producer", ["", "pytorch", "a" * 10, "x" * 200])
def test_onnx_is_none_of_the_others(producer: str) -> None:
    model = helper.make_model(helper.make_graph([], "g", [], []), producer_name=producer)
    assert kind_of_bytes(model.SerializeToString()) is ONNX


@pytest.mark.parametrize("command", ["distill", "export", "inspect"])
def test_commands_say_what_was_found(command: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(FILES["model.h5"][0]())
    module = __import__(
        f"efq.{'export' if command in ('export', 'inspect') else 'toolchain'}.{command}_command", fromlist=["main"]
    )
    options = {
        "distill": ["--faces", str(tmp_path), "-o", str(tmp_path / "s.pt")],
        "export": ["-o", str(tmp_path / "a")],
    }
    result = CliRunner().invoke(module.main, [str(tmp_path / "model.pt"), *options.get(command, [])])
    assert result.exit_code == 1, result.output
    names(result.output, "HDF5", "ONNX", tmp_path / "model.pt")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "link.pt").symlink_to(tmp_path / "nowhere")
    for name, fact in (
        ("pipe.pt", "pipe"),
        ("folder.pt", "folder"),
        ("link.pt", "No such file"),
        ("x\0y", "null byte"),
    ):
        with raises_naming(CheckpointError, fact):
            read_checkpoint(tmp_path / name)
    with raises_naming(CheckpointError, "device"):
        read_checkpoint(Path("/dev/zero"))
    with raises_naming(CheckpointError, "pipe"):
        network_kind(tmp_path / "pipe.pt")


def test_a_sparse_file_larger_than_any_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    with path.open("wb") as file:
        file.write(saved({"a": torch.zeros(3)})[:100])
        file.truncate(20 * 2**30)
    with raises_naming(CheckpointError, path, f"{20 * 2**30:,}"):
        read_checkpoint(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved({"a": torch.zeros(3)}))
    path.chmod(0)
    for read in (read_checkpoint, network_kind):
        with raises_naming(CheckpointError, path, "Permission denied"):
            read(path)


BINPUT_FAR = b"\x80\x02]r\xff\xff\xff\xff."
ENDLESS = b"\x80\x02]q\x00h\x00a."
DEEP = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
DOUBLED = b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60)) + b"."
LONG_TUPLE = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b"."
AS_KEY = LONG_TUPLE[:-1] + b"}h\x3cK\x01s."
RUNS = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R."
GROWS = b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x40\x85R."
BUILDS = b"\x80\x02ctorch\nSize\n}X\x01\x00\x00\x00aK\x01sb."
CUT = b"\x80\x02}q\x00(X\xff\xff\xff\x7fabc"
PICKLES = {
    "far memo": BINPUT_FAR,
    "contains itself": ENDLESS,
    "deep": DEEP,
    "doubled 60 times": DOUBLED,
    "tuples doubled 60 times": LONG_TUPLE,
    "a tuple as a key": AS_KEY,
    "runs": RUNS,
    "grows": GROWS,
    "builds": BUILDS,
    "cut": CUT,
    "huge number": b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x01" * (1 << 20) + b".",
    "nothing": b"",
    "no stack": b"\x80\x02aaaa.",
    "marks": b"\x80\x02(((ttttt.",
}


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for data in (with_pickle(PICKLES[name]), PICKLES[name]):
        path.write_bytes(data)
        with raises_naming(CheckpointError, path) as caught:
            read_checkpoint(path)
        assert len(str(caught.value)) < 600


def tensor_record(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4) -> bytes:
    """The pickle of {"a": a tensor with these numbers on `count` floats}."""

    class Memory:
        pass

    class Tensor:
        def __reduce__(self) -> Any:
            function = torch._utils._rebuild_tensor_v2
            return function, (Memory(), offset, size, stride, False, {})

    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=2)
    pickler.persistent_id = lambda value: (  # type: ignore[method-assign]
        ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(value, Memory) else None
    )
    pickler.dump({"a": Tensor()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "stride", "offset", "count"),
    [
        ((5,), (1,), 0, 4),
        ((4,), (1,), 1, 4),
        ((2, 2), (3, 1), 0, 4),
        ((10**12,), (0,), 0, 4),
        ((10**6, 10**6), (0, 0), 0, 4),
        ((4,), (1,), 0, 10**15),
        ((4,), (1,), 0, 5),
        ((-1,), (1,), 0, 4),
        ((2,), (-1,), 3, 4),
        ((2, 2), (1,), 0, 4),
    ],
    ids=str,
)
def test_tensors_that_are_not_in_the_file(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, count: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(with_pickle(tensor_record(size, stride, offset, count), bytes(16)))
    with raises_naming(CheckpointError, path):
        read_checkpoint(path)


def test_the_made_record_is_otherwise_a_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(with_pickle(tensor_record((2, 2), (2, 1)), np.arange(4, dtype=np.float32).tobytes()))
    assert read_checkpoint(path)["a"].tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_a_zip_that_swells(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    records = [("a/data.pkl", tensor_record((4,), (1,))), ("a/data/0", bytes(1 << 20))]
    path.write_bytes(zipped(*records, compression=zipfile.ZIP_DEFLATED))
    with raises_naming(CheckpointError, path, "compressed"):
        read_checkpoint(path)
    with pytest.warns(UserWarning, match="Duplicate"):
        path.write_bytes(zipped(*records, ("a/data.pkl", b"x")))
    with raises_naming(CheckpointError, path):
        read_checkpoint(path)


def sparse() -> torch.Tensor:
    return torch.eye(3).to_sparse()


def without_values() -> torch.Tensor:
    return torch.empty(3, 3, device="meta")


def quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.rand(3, 3), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "fact"), [(sparse, "sparse"), (without_values, "meta"), (quantized, "quantized")])
def test_tensors_without_plain_values_are_named(make: Callable[[], torch.Tensor], fact: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved({"state_dict": {"conv.weight": make()}}))
    with raises_naming(CheckpointError, path, "state_dict.conv.weight", fact):
        read_checkpoint(path)


def test_a_long_name_is_not_repeated_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved({"a" * 100_000: sparse()}))
    with raises_naming(CheckpointError, path, "sparse") as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 1000


def test_a_changed_bit_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    data = bytearray(saved({"a": torch.arange(1000.0)}))
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with raises_naming(CheckpointError, path, "checksum"):
        read_checkpoint(path)


def test_files_of_all_ages_are_read(tmp_path: Path) -> None:
    """Of torch before 1.6, without checksums, of a training with its optimizer, of parameters and shared memory."""
    path, weight = tmp_path / "a.pt", torch.randn(4, 3)
    training = {"epoch": 3, "loss": 0.5, "state": {0: 1.0}, "seen": {1}, "size": torch.Size([3]), "kind": torch.float16}
    contents = [{"w": weight, "rows": weight[1:], "T": weight.T, "one": weight[:1].expand(4, 3)}, training]
    contents += [{"p": nn.Parameter(weight)}, {"odd": weight.to(torch.uint16)}, {"none": torch.zeros(0, 3)}]
    for content in contents:
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            if options and "odd" in content:
                continue  # torch cannot read that itself
            path.write_bytes(saved(content, **options))
            found = read_checkpoint(path)
            assert list(found) == list(content)
            for key, value in content.items():
                assert torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value
    torch.serialization.set_crc32_options(False)
    try:
        path.write_bytes(saved(contents[0]))
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(path)["w"], weight)


ORIGINALS = [
    saved({"state_dict": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict(), "epoch": 3}),
    saved({"a": torch.arange(20.0)}, _use_new_zipfile_serialization=False),
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    original=st.sampled_from(ORIGINALS),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
def test_damaged_bytes_end_in_words(
    original: bytes, cut: float, changes: list[tuple[float, int]], tmp_path: Path
) -> None:
    data = bytearray(original)
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    path = tmp_path / "a.pt"
    path.write_bytes(bytes(data[: int(cut * len(data))] if cut < 0.5 else data))
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        found = str(error)
    else:
        found = ""
    assert not FOREIGN_WORDS.search(found)
