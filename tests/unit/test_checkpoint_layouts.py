"""One network's weights in every wrapping that training code leaves them in: what is taken, and what is said of it."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import names, raises_naming
from networks import TEACHER, randomize, teacher_network
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from efq.runtime.errors import CheckpointError, UsageError
from efq.toolchain.backbones import find_backbone, load_backbone
from efq.toolchain.backbones.checkpoint import LoadedBackbone, open_backbone
from efq.toolchain.teachers import open_teacher

Weights = dict[str, Any]
NETWORK = randomize(teacher_network())
WEIGHTS: Weights = NETWORK.state_dict()
OTHER: Weights = randomize(teacher_network(), seed=5).state_dict()
ZEROS: Weights = {name: torch.zeros_like(value) for name, value in WEIGHTS.items()}
HEAD = torch.ones(100, 16)


class Kind(enum.Enum):
    MARGIN = 1


class Settings(dict[str, Any]):
    """As configuration packages have them."""


def prefixed(prefix: str, weights: Weights = WEIGHTS) -> Weights:
    return {f"{prefix}{name}": value for name, value in weights.items()}


def wrapped_inside(weights: Weights) -> Weights:
    """One layer in DataParallel."""
    return {name.replace("stem.", "stem.module."): value for name, value in weights.items()}


def averaged() -> Weights:
    model = torch.optim.swa_utils.AveragedModel(NETWORK, use_buffers=True)
    return dict(model.state_dict())


def training_state() -> Weights:
    network = teacher_network()
    optimizer = torch.optim.Adam(network.parameters())
    sum(value.sum() for value in network.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return {
        "model": WEIGHTS,
        "optimizer": optimizer.state_dict(),
        "scheduler": {"base_lrs": [0.1], "lambda": [None]},
        "arguments": argparse.Namespace(lr=0.1, weight=torch.zeros(3)),
        "best": np.float64(0.9),
        "when": datetime.datetime(2026, 1, 1),
        "where": Path("runs"),
        "kind": Kind.MARGIN,
        "history": collections.defaultdict(list, loss=[1.0]),
        "settings": Settings(a=1),
        (1, 2): "a key that is no name",
        "seen": {1, 2},
    }


def lightning() -> Weights:
    return {
        "state_dict": prefixed("model.") | {"head.kernel": HEAD.T},
        "hyper_parameters": argparse.Namespace(width=1),
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "pytorch-lightning_version": "2.5",
    }


UNDER = (
    *("state_dict", "state_dict_backbone", "model", "net", "network", "params", "weights", "backbone", "model_state"),
    *("model_state_dict", "net_state_dict", "ema", "model_ema", "state_dict_ema", "teacher", "an odd key"),
)
BEFORE = (
    *("module.", "model.", "net.", "backbone.", "features.module.", "_orig_mod.", "module._orig_mod.", "encoder."),
    *("x.y.z.", "_fsdp_wrapped_module.", "model._orig_mod.backbone."),
)
# name: what is saved, what the notes have to say
TAKEN: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "bare": (lambda: WEIGHTS, ()),
    **{f"under {key}": (lambda key=key: {key: WEIGHTS, "epoch": 3}, (f"{key}.",)) for key in UNDER},
    **{f"before {prefix}": (lambda prefix=prefix: prefixed(prefix), (prefix,)) for prefix in BEFORE},
    "both": (lambda: {"state_dict": prefixed("module."), "lr": 0.1}, ("state_dict.module.",)),
    "twice": (lambda: {"checkpoint": {"model": WEIGHTS}}, ("checkpoint.model.",)),
    "list": (lambda: [WEIGHTS, {"step": 1}], ("0.",)),
    "a tree": (lambda: tree(WEIGHTS), ()),
    "a layer in DataParallel": (lambda: wrapped_inside(WEIGHTS), ()),
    "averaged": (averaged, ("module.",)),
    "lightning": (lightning, ("state_dict.model.", "head.kernel")),
    "training state": (training_state, ("model.", "optimizer")),
    "heads": (
        lambda: WEIGHTS | {"head.weight": HEAD, "loss.weight": HEAD, "fc.kernel": HEAD.T, "fc2.weight": HEAD},
        ("head.weight", "loss.weight", "fc.kernel"),
    ),
    "counters of operations": (lambda: WEIGHTS | {"total_ops": torch.zeros(1), "stem.total_params": HEAD[0, :1]}, ()),
    "fake quantizers": (lambda: WEIGHTS | {"stem.0.weight_fake_quant.scale": torch.ones(1)}, ()),
    "parameters": (lambda: {name: as_parameter(value) for name, value in WEIGHTS.items()}, ()),
    "float64": (lambda: {name: value.double() for name, value in WEIGHTS.items()}, ()),
    "numpy": (lambda: {name: value.numpy() for name, value in WEIGHTS.items()}, ()),
    "numpy, columns first": (lambda: {n: np.asfortranarray(value.numpy()) for n, value in WEIGHTS.items()}, ()),
    "a dict of another class": (lambda: {"model": Settings(WEIGHTS)}, ("model.",)),
    "views of one memory": (lambda: in_one_memory(WEIGHTS), ()),
    "the same twice": (lambda: {"a": WEIGHTS, "b": {name: value.clone() for name, value in WEIGHTS.items()}}, ("a.",)),
    "ema beside others": (lambda: {"model": OTHER, "ema": WEIGHTS}, ("ema", "@model")),
    "ema beside zeros": (lambda: {"model": ZEROS, "ema": WEIGHTS}, ("ema", "@model", "10 of 10")),
    "zeros as ema": (lambda: {"model": WEIGHTS, "model_ema": ZEROS}, ("model", "@model_ema", "10 of 10")),
    "ema without statistics": (lambda: {"model": WEIGHTS, "ema": fresh(OTHER)}, ("model", "@ema", "BatchNorm")),
    "named momentum": (lambda: {"model": WEIGHTS, "optimizer": {"exp_avg": OTHER}}, ("model.", "optimizer")),
    "student and its averaged teacher": (lambda: {"student": OTHER, "teacher": WEIGHTS}, ("teacher", "@student")),
}
REFUSED: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "nothing": (lambda: {"epoch": 3}, ("epoch",)),
    "a tensor": (lambda: torch.zeros(3), ()),
    "a list of tensors": (lambda: list(WEIGHTS.values()), ("stem.0.weight",)),
    "two that differ": (lambda: {"best": WEIGHTS, "last": OTHER}, ("best", "last", "--backbone @best")),
    "two averages": (lambda: {"ema": WEIGHTS, "ema2": OTHER, "model": OTHER}, ("ema", "ema2")),
    "zeros": (lambda: {"model": ZEROS}, ("10 of 10", "stem.0.weight", "'model.'")),
    "ones": (lambda: {name: torch.ones_like(value) for name, value in WEIGHTS.items()}, ("10 of 10",)),
    "a layer less": (lambda: without(WEIGHTS, "fc."), ("2 missing", "fc.weight", "fc.bias")),
    "no statistics": (lambda: without(WEIGHTS, "stem.1.running"), ("stem.1.running_mean",)),
    "a layer more": (lambda: WEIGHTS | {"residual.3.0.weight": torch.ones(3, 3, 3, 3)}, ("residual.3.0.weight",)),
    "a stage more": (lambda: WEIGHTS | {"residual2.0.weight": torch.ones(3, 3, 3, 3)}, ("residual2.0.weight",)),
    "another width": (lambda: WEIGHTS | {"fc.weight": torch.ones(32, 24)}, ("fc.weight", "(32, 24)", "(16, 24)")),
    "another network": (lambda: nn.Linear(3, 4).state_dict(), ("stem.0.weight", "bias")),
    "a whole network": (lambda: NETWORK, ("networks.BottleneckNetwork", "state_dict")),
    "a whole network inside": (lambda: {"model": NETWORK, "epoch": 3}, ("networks.BottleneckNetwork", "'model'")),
    "quantized": (lambda: WEIGHTS | {"fc.weight": quantized(WEIGHTS["fc.weight"])}, ("fc.weight", "quantized")),
    "complex": (lambda: WEIGHTS | {"fc.bias": WEIGHTS["fc.bias"] * 1j}, ("fc.bias", "complex64")),
    "a name twice": (lambda: WEIGHTS | {"fc": {"weight": WEIGHTS["fc.weight"]}}, ("fc.weight", "once")),
}


def tree(weights: Weights) -> Weights:
    """Dicts in dicts instead of names with dots."""
    found: Weights = {}
    for name, value in weights.items():
        *path, last = name.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


def as_parameter(value: Tensor) -> Tensor:
    return nn.Parameter(value) if value.is_floating_point() else value


def in_one_memory(weights: Weights) -> Weights:
    flat = torch.cat([value.float().flatten() for value in weights.values()])
    parts = flat.split([value.numel() for value in weights.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(weights.items(), parts, strict=True)}


def fresh(weights: Weights) -> Weights:
    """Averaged without buffers: BatchNorm's statistics as they were made."""
    return {
        name: torch.full_like(value, float(name.endswith("var"))) if "running" in name else value
        for name, value in weights.items()
    }


def without(weights: Weights, prefix: str) -> Weights:
    return {name: value for name, value in weights.items() if not name.startswith(prefix)}


def quantized(value: Tensor) -> Tensor:
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def check_weights(loaded: LoadedBackbone, wanted: Weights = WEIGHTS) -> None:
    found = loaded.network.state_dict()
    different = [
        name for name in found if "tracked" not in name and not torch.equal(found[name], wanted[name].to(found[name]))
    ]
    assert not different


@pytest.mark.parametrize("layout", TAKEN)
def test_layouts_that_are_taken(layout: str, tmp_path: Path) -> None:
    make, facts = TAKEN[layout]
    for options in ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 5}):
        loaded = open_backbone(saved(make(), tmp_path / "weights.pt", **options), TEACHER)
        check_weights(loaded)
        notes = " ".join(loaded.notes)
        assert all(fact in notes for fact in facts), notes
        assert bool(notes) == bool(facts)


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning", "ignore:.*deprecated")
@pytest.mark.parametrize("layout", REFUSED)
def test_layouts_that_are_refused(layout: str, tmp_path: Path) -> None:
    make, facts = REFUSED[layout]
    path = saved(make(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError) as caught:
        open_backbone(path, TEACHER)
    assert all(fact in str(caught.value) for fact in (str(path), *facts)), str(caught.value)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_whole_states_of_few_bits(kind: torch.dtype, tmp_path: Path) -> None:
    """Halved with everything in them, counters too."""
    small = {name: value.to(kind) for name, value in WEIGHTS.items()}
    check_weights(open_backbone(saved(small, tmp_path / "weights.pt"), TEACHER), small)


@pytest.mark.parametrize(
    ("place", "wanted"),
    [("ema", WEIGHTS), ("model", OTHER), ("ema.module", WEIGHTS), ("model.", OTHER)],
    ids=["ema", "model", "ema.module", "model."],
)
def test_other_weights_are_chosen_by_name(place: str, wanted: Weights, tmp_path: Path) -> None:
    path = saved({"model": OTHER, "ema": prefixed("module.")}, tmp_path / "weights.pt")
    check_weights(open_backbone(path, f"{TEACHER}@{place}"), wanted)
    with raises_naming(UsageError, "'best'", "model", "ema.module"):
        open_backbone(path, f"{TEACHER}@best")


def test_a_known_network_is_recognized_wherever_it_is(tmp_path: Path) -> None:
    network = randomize(find_backbone("mobileface-v2").build())
    weights = network.state_dict()
    content = {"state_dict": prefixed("model.module.", weights) | {"loss.weight": HEAD}, "ema": fresh(weights)}
    loaded = open_backbone(saved(content, tmp_path / "weights.pt"))
    assert (loaded.backbone.name, loaded.place) == ("mobileface-v2", "state_dict.model.module.")
    check_weights(loaded, weights)
    check_weights(open_backbone(tmp_path / "weights.pt", "@ema"), fresh(weights))
    with raises_naming(CheckpointError, "iresnet18", "conv1.weight", "mobileface-v2"):
        open_backbone(tmp_path / "weights.pt", "iresnet18")


def test_what_comes_closest_is_said(tmp_path: Path) -> None:
    """A network's state with a layer of another name, one of another shape and one too many: in one message."""
    weights = find_backbone("mobileface-v2").build().state_dict()
    weights["stem.1.gain"] = weights.pop("stem.1.weight")
    weights["fc.weight"] = weights["fc.weight"][:, :1024]
    path = saved({"net": weights}, tmp_path / "weights.pt")
    with raises_naming(CheckpointError, "mobileface-v2", "stem.1.weight", "stem.1.gain", "fc.weight", "'net.'"):
        open_backbone(path)


def test_the_networks_own_prefix_may_be_missing(tmp_path: Path) -> None:
    """A factory that wraps its backbone finds the backbone's weights."""
    loaded = open_backbone(saved({"model": WEIGHTS}, tmp_path / "weights.pt"), f"{__name__}:Wrapping")
    names(" ".join(loaded.notes), "net.inner")
    check_weights(loaded, prefixed("net.inner."))


class Wrapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"inner": teacher_network()})

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.net["inner"](images)
        return found


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_pruned_and_weight_normalized(tmp_path: Path) -> None:
    """What the masks and norms compute is what torch computes of them."""
    for change in (
        lambda layer: prune.l1_unstructured(layer, "weight", 0.4),
        lambda layer: nn.utils.weight_norm(layer),
        lambda layer: nn.utils.weight_norm(layer, dim=1),
        lambda layer: nn.utils.weight_norm(layer, dim=None),
        lambda layer: parametrizations.weight_norm(layer),
    ):
        network = randomize(teacher_network())
        for layer in (network.get_submodule("stem.0"), network.get_submodule("fc")):
            change(layer)
        loaded = open_backbone(saved(network.state_dict(), tmp_path / "weights.pt"), TEACHER).network
        images = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(loaded(images), network.eval()(images))


def test_other_parametrizations_say_what_to_call(tmp_path: Path) -> None:
    network = randomize(teacher_network())
    parametrizations.orthogonal(network.get_submodule("fc"))
    with raises_naming(CheckpointError, "fc.weight", "remove_parametrizations"):
        open_backbone(saved(network.state_dict(), tmp_path / "weights.pt"), TEACHER)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_arrays(protocol: int, tmp_path: Path) -> None:
    arrays = {name: value.numpy().astype(">f4") if value.dim() else value.item() for name, value in WEIGHTS.items()}
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "where": Path("a")}, protocol=protocol))
    loaded = open_backbone(path, TEACHER)
    check_weights(loaded)
    names(" ".join(loaded.notes), "pickled arrays", "model")


def safetensors(weights: Weights, changed: dict[str, Any] | None = None) -> bytes:
    """As the format's documentation has it."""
    types = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, value in weights.items():
        raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.dim() else b"\0" * 8
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": types[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header | (changed or {})).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"  # by its first bytes
    path.write_bytes(safetensors(prefixed("backbone.") | {"head.weight": HEAD}))
    loaded = open_backbone(path, TEACHER)
    check_weights(loaded)
    names(" ".join(loaded.notes), "safetensors", "backbone", "head.weight")
    path.write_bytes(safetensors({name: value.bfloat16() for name, value in WEIGHTS.items() if value.dim()}))
    check_weights(open_backbone(path, TEACHER), {name: value.bfloat16() for name, value in WEIGHTS.items()})


def test_a_licence_beside_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(safetensors(WEIGHTS, {"__metadata__": {"format": "pt", "license": "cc by-nc 4.0"}}))
    licensed = open_teacher(path, TEACHER)
    torch.save({"state_dict": WEIGHTS, "License": "MIT License", "epoch": 3}, path)
    beside = open_teacher(path, TEACHER)
    torch.save(WEIGHTS, path)
    silent = open_teacher(path, TEACHER)
    found = [(teacher.licence, teacher.licence_source) for teacher in (licensed, beside, silent)]
    assert found == [("CC-BY-NC-4.0", "in the file"), ("MIT", "in the file"), ("unknown", None)]


@pytest.mark.parametrize(
    "record",
    [
        {"dtype": "F4", "shape": [3], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-3], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
        {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0]},
        {"dtype": "F32", "shape": [True, 3], "data_offsets": [0, 12]},
        {"dtype": "F32", "data_offsets": [0, 12]},
        "a string",
    ],
    ids=str,
)
def test_safetensors_headers_that_are_none(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors({"a": torch.zeros(3)}, {"a": record}))
    with raises_naming(CheckpointError, path):
        open_backbone(path, TEACHER)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_safetensors(data: st.DataObject, tmp_path: Path) -> None:
    """Cut off or changed anywhere in its header: a CheckpointError, or the same weights."""
    content = bytearray(safetensors(WEIGHTS))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    try:
        found = open_backbone(path, TEACHER).network.state_dict()
    except CheckpointError:
        return
    assert {name: value.shape for name, value in found.items()} == {name: v.shape for name, v in WEIGHTS.items()}


PART = st.sampled_from(("module", "model", "net", "ema_", "a", "0", "_orig_mod", "stem", "backbone", "state_dict"))


@given(keys=st.lists(PART, max_size=3), prefix=st.lists(PART, max_size=3), surplus=st.booleans(), old=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_nesting_and_any_prefix(
    keys: list[str], prefix: list[str], surplus: bool, old: bool, tmp_path: Path
) -> None:
    content: Any = prefixed("".join(f"{part}." for part in prefix))
    if surplus:
        content |= {"criterion.weight": HEAD}
    for key in keys:
        content = {key: content, "epoch": 3}
    path = saved(content, tmp_path / "weights.pt", _use_new_zipfile_serialization=not old)
    loaded = open_backbone(path, TEACHER)
    check_weights(loaded)
    wanted = "".join(f"{part}." for part in (*reversed(keys), *prefix))
    assert loaded.place == wanted


def test_the_same_two_values_as_before(tmp_path: Path) -> None:
    """`load_backbone` is what other code calls."""
    backbone, network = load_backbone(saved({"model": WEIGHTS}, tmp_path / "weights.pt"), TEACHER)
    assert backbone.name == TEACHER
    assert not network.training
