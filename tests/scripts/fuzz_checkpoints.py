"""Open damaged teachers, many of them: `python tests/scripts/fuzz_checkpoints.py --count 20000 --seed 0`.

A network's weights as torch.save, safetensors and pickle write them, with bytes changed, values replaced, tensors of
other dtypes, shapes, layouts and devices, pickles of strangers. Each is a CheckpointError in EFQ's own words, or a
teacher that gives finite embeddings or is refused as an EfqError when it is lowered. Anything else is a hole: it is
printed with the seed of its mutation, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import random
import re
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import tests_folder  # noqa: F401
import torch
from counting import MARK, count_attempts, parser
from fuzz_students import damaged, value
from networks import MEAN, STD, TEACHER, random_images, randomize, teacher_network
from torch import Tensor

from efq.runtime.errors import CheckpointError, LoweringError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.networks import network_kind
from efq.toolchain.teachers import open_teacher
from efq.toolchain.teachers.formats import CHECKPOINT, find_format

FOREIGN_WORDS = re.compile(r"weights_only|re-run|\x1b|0x[0-9a-f]{6}|WeightsUnpickler|Traceback|pickle_module")
DTYPES = (
    *(torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64, torch.bool),
    *(torch.complex64, torch.float8_e4m3fn),
)
WRAPPERS = ("state_dict", "model", "ema", "net_state_dict", "backbone", "weights", "format")
PREFIXES = ("module.", "_orig_mod.", "model.", "features.module.", "stem.", "a.b.c.")
SAFE_TYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16"}
SAFE_TYPES |= {torch.int64: "I64", torch.uint8: "U8", torch.bool: "BOOL", torch.int8: "I8"}
STARTS = (
    *(b"", b"PK\x03\x04", b"\x80\x02", b"\x08\x07\x12\x04", b"<!DOCTYPE html>", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b"),
    *(b"version https://git-lfs.github.com/spec/v1\n", b"\xff\xd8\xff\xe0", b"{", b"\x1c\0\0\0TFL3", b"\0" * 64),
)


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (f"import os; os.environ[{MARK!r}] = '1'",)


def changed_tensor(tensor: Tensor, draw: random.Random) -> Any:
    """`tensor` of another dtype, shape or layout, or with a number that is none."""
    filled = tensor.numel() > 0
    makers = [
        lambda: tensor.to(draw.choice(DTYPES)),
        lambda: tensor.reshape(-1),
        lambda: tensor[..., None],
        lambda: tensor.flatten()[:1].reshape(()),
        lambda: tensor[:0],
        lambda: tensor.flatten()[0].expand(tensor.shape),  # steps of 0
        lambda: tensor.flatten()[0].expand(1 << 20, 1 << 20),  # a file of kilobytes
        lambda: tensor.transpose(0, -1),
        lambda: tensor.repeat(*[2] * max(tensor.dim(), 1)),
        lambda: tensor.to_sparse(),
        lambda: tensor.to("meta"),
        lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
        lambda: torch.nn.Parameter(tensor.float()),
        lambda: torch.nested.nested_tensor([tensor.float(), tensor.float()]),
        lambda: spoiled(tensor, draw),
        lambda: spoiled(tensor, draw),
        lambda: tensor.numpy(),
        lambda: value(draw),
    ]
    return draw.choice(makers)() if filled else value(draw)


def spoiled(tensor: Tensor, draw: random.Random) -> Tensor:
    copy = tensor.clone().float().flatten()
    copy[draw.randrange(copy.numel())] = draw.choice((float("nan"), float("inf"), -float("inf"), 1e38, -1.0, 0.0))
    return copy.reshape(tensor.shape)


def changed_content(weights: dict[str, Any], draw: random.Random) -> Any:
    """A state dict with some things changed, perhaps inside other dicts."""
    content: Any = dict(weights)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        name = draw.choice(list(content))
        action = draw.random()
        if action < 0.7:
            content[name] = changed_tensor(weights.get(name, torch.zeros(3)), draw)
        elif action < 0.8:
            del content[name]
        elif action < 0.9:
            content[draw.choice((f"module.{name}", f"{name}.x", "", "a" * 1000, 7))] = weights.get(name)
        else:
            content[name] = value(draw)
    if draw.random() < 0.3:
        prefix = draw.choice(PREFIXES)
        content = {f"{prefix}{name}": item for name, item in content.items()}
    for _ in range(draw.choice((0, 0, 0, 1, 2))):
        beside = draw.choice(
            (value(draw), argparse.Namespace(a=value(draw)), np.float64(3), Path("a"), weights, content)
        )
        content = {draw.choice(WRAPPERS): content, draw.choice(("epoch", *WRAPPERS)): beside}
    return draw.choice((content, content, content, content, [content], value(draw)))


def file_of(weights: dict[str, Any], draw: random.Random) -> bytes:
    """The bytes of a mutated checkpoint."""
    buffer = io.BytesIO()
    action = draw.random()
    if action < 0.05:
        return draw.choice(STARTS) + draw.randbytes(draw.randrange(600))
    if action < 0.1:
        content = draw.choice((Code(), {"state_dict": Code()}, weights | {"x": Code()}))
        kind = draw.random()
        if kind < 0.4:
            torch.save(content, buffer, _use_new_zipfile_serialization=kind < 0.2)
        elif kind < 0.7:
            pickle.dump({"x": Code(), "array": np.zeros(3)}, buffer, protocol=draw.randrange(6))
        else:
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr("a/data.pkl", pickle.dumps(Code(), protocol=2))
                archive.writestr("a/version", b"3\n")
        return buffer.getvalue()
    if action < 0.25:
        data = safetensors_of(weights, draw)
    elif action < 0.35:
        arrays = {name: draw.choice((item.numpy(), item.double().numpy().T)) for name, item in weights.items()}
        data = pickle.dumps(draw.choice((arrays, {"w": arrays, "x": Path("a")})), protocol=draw.randrange(2, 6))
    else:
        torch.save(changed_content(weights, draw), buffer, _use_new_zipfile_serialization=draw.random() < 0.85)
        data = buffer.getvalue()
    return damaged(data, draw) if draw.random() < 0.35 else data


def safetensors_of(weights: dict[str, Any], draw: random.Random) -> bytes:
    """The weights as safetensors, of some types and perhaps with a wrong header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, item in weights.items():
        tensor = item.to(draw.choice(list(SAFE_TYPES))) if draw.random() < 0.05 else item
        raw = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": SAFE_TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    if draw.random() < 0.5:
        record = header[draw.choice(list(weights))]
        record[draw.choice(list(record))] = draw.choice(([1 << 40], [0, 1 << 60], [-1, 4], "F8", "F32", value(draw, 2)))
    text = json.dumps(header, default=str).encode()
    return struct.pack("<Q", draw.choice((len(text), len(text), len(text), 1 << 62, 3))) + text + data


def outcome(path: Path) -> str:
    """What opening the teacher at `path` and tracing its network came to."""
    try:
        kind = network_kind(path)
        if kind != "teacher":
            return f"another kind: {kind}"
        teacher = open_teacher(path, TEACHER if find_format(path) is CHECKPOINT else None)
    except CheckpointError as error:
        text = str(error)
        assert not FOREIGN_WORDS.search(text), text
        assert len(text) < 1000, text
        return "refused"
    try:
        trace(teacher.network, MEAN, STD)
    except LoweringError:
        return "refused when it was traced"
    embeddings = teacher.normalized(random_images(1, size=112))
    return "a teacher" if bool(torch.isfinite(embeddings).all()) else "a teacher whose embeddings are NaN"


def main() -> None:
    """Count; exit 1 for a hole."""
    arguments = parser(__doc__, count=2000).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    weights = dict(randomize(teacher_network()).state_dict())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.pt"

        def attempt(draw: random.Random, number: int) -> str:
            try:
                path.write_bytes(file_of(weights, draw))
            except (RuntimeError, TypeError, NotImplementedError, IndexError) as error:
                return f"torch writes no such file ({type(error).__name__})"
            return outcome(path)

        count_attempts(arguments, attempt)


if __name__ == "__main__":
    main()
