"""Backbones by name: their keys, finding them by a checkpoint's keys, and everything wrong with a checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import raises_naming
from networks import BottleneckNetwork, randomize, teacher_network
from torch import nn

from efq.runtime.errors import CheckpointError, UsageError
from efq.toolchain.backbones import Backbone, backbone_names, find_backbone, load_backbone, read_checkpoint, register

FACTORY = "networks:teacher_network"
SMALL = ("mobilefacenet", "mobilefacenet-y1", "mobilefacenet-relu6", "mobilefacenet-112x96", "mobileface-v2")
KEYS = {
    "mobilefacenet": (
        "layers.0.layers.0.weight",
        "layers.3.layers.0.layers.2.layers.1.running_var",
        "features.layers.3.bias",
    ),
    "mobilefacenet-y1": ("stem.prelu.weight", "units.14.2.bn.running_mean", "fbn.weight"),
    "mobilefacenet-relu6": ("conv1.0.weight", "features.5.conv.1.0.weight", "gdconv.depthwise.weight"),
    "mobilefacenet-112x96": ("conv1.prelu.weight", "blocks.0.conv.7.running_var", "linear7.conv.weight"),
    "mobileface-v2": ("stem.0.bias", "units.11.6.weight", "fc.weight"),
    "iresnet18": (
        "conv1.weight",
        "layer1.0.bn1.weight",
        "layer1.0.downsample.0.weight",
        "layer4.1.bn3.bias",
        "features.bias",
    ),
}


def save(network: nn.Module, path: Path, wrap: Callable[[dict[str, Any]], Any] = lambda weights: weights) -> Path:
    torch.save(wrap(network.state_dict()), path)
    return path


@pytest.mark.parametrize("name", [*SMALL, "iresnet18"])
def test_a_checkpoint_comes_back_and_is_found_by_its_keys(name: str, tmp_path: Path) -> None:
    network = randomize(find_backbone(name).build())
    assert set(KEYS[name]) <= set(network.state_dict())
    path = save(network, tmp_path / "weights.pt")
    found, loaded = load_backbone(path)
    assert found.name == name
    assert not loaded.training
    images = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))
    assert load_backbone(path, name)[0] is find_backbone(name)


def test_keys_of_iresnet100() -> None:
    """arcface_torch's names: 3, 13, 30 and 3 blocks; built without memory."""
    with torch.device("meta"):
        weights = find_backbone("iresnet100").build().state_dict()
    blocks = [len({key.split(".")[1] for key in weights if key.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)]
    assert blocks == [3, 13, 30, 3]
    assert weights["fc.weight"].shape == (512, 25088)
    assert weights["layer3.29.conv2.weight"].shape == (256, 256, 3, 3)


@pytest.mark.parametrize(
    ("size", "blocks", "scale"), [(512, (1, 4, 6, 2), 2), (128, (2, 8, 16, 4), 4), (256, (1, 2, 2, 1), 1)]
)
def test_sizes_of_mobilefacenet_are_read_off_the_checkpoint(
    size: int, blocks: tuple[int, int, int, int], scale: int, tmp_path: Path
) -> None:
    with torch.device("meta"):
        shapes = find_backbone("mobilefacenet").build(embedding_size=size, blocks=blocks, scale=scale).state_dict()
    weights = {key: torch.rand(value.shape).to(value.dtype) for key, value in shapes.items()}
    torch.save(weights, tmp_path / "weights.pt")
    found, network = load_backbone(tmp_path / "weights.pt")
    assert found.name == "mobilefacenet"
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in weights.items()
    }


@pytest.mark.parametrize("wrapper", ["state_dict", "net_state_dict", "model_state_dict", "model", "backbone"])
def test_wrapped_checkpoints(wrapper: str, tmp_path: Path) -> None:
    network = randomize(find_backbone(FACTORY).build())
    path = save(
        network,
        tmp_path / "weights.pt",
        lambda weights: {wrapper: {f"module.{key}": value for key, value in weights.items()}, "epoch": 3},
    )
    _, loaded = load_backbone(path, FACTORY)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_a_wrong_network_is_named_with_its_differences(tmp_path: Path) -> None:
    network = randomize(find_backbone(FACTORY).build())
    path = save(network, tmp_path / "weights.pt")
    with raises_naming(CheckpointError, path, *backbone_names(), "stem.0.weight", "--backbone"):
        load_backbone(path)
    with raises_naming(CheckpointError, path, "iresnet50", "bn1.bias", "bn.bias", "stem.0.weight"):
        load_backbone(path, "iresnet50")
    torch.save(network.state_dict() | {"fc.weight": torch.zeros(16, 25)}, path)
    with raises_naming(CheckpointError, path, FACTORY, "fc.weight"):
        load_backbone(path, FACTORY)
    torch.save({key: value for key, value in network.state_dict().items() if key != "stem.0.weight"}, path)
    with raises_naming(CheckpointError, path, FACTORY, "stem.0.weight"):
        load_backbone(path, FACTORY)


@pytest.mark.parametrize("counter", [None, 7, torch.tensor(7.0), torch.tensor([7])], ids=str)
def test_batch_counters_are_not_needed(counter: Any, tmp_path: Path) -> None:
    """They may be missing, or halved with the weights: nothing reads them."""
    weights = randomize(find_backbone(FACTORY).build()).state_dict()
    for key in [key for key in weights if key.endswith("num_batches_tracked")]:
        weights[key] = counter
        if counter is None:
            del weights[key]
    torch.save(weights, tmp_path / "weights.pt")
    load_backbone(tmp_path / "weights.pt", FACTORY)


class Payload:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("a pickle ran code",))


def test_a_pickle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": Payload()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"weights": Payload()}, protocol=2))
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "module.pt")
    for name in ("zip.pt", "plain.pt", "module.pt"):
        with raises_naming(CheckpointError, tmp_path / name):
            read_checkpoint(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no checkpoint at all", bytes(1000)])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with raises_naming(CheckpointError, tmp_path / "weights.pt"):
        read_checkpoint(tmp_path / "weights.pt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = save(find_backbone(FACTORY).build(), tmp_path / "weights.pt")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with raises_naming(CheckpointError, path):
        read_checkpoint(path)


def test_missing_and_empty_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with raises_naming(CheckpointError, path):
        read_checkpoint(path)
    torch.save([torch.zeros(1)], path)
    with raises_naming(CheckpointError, path, "list"):
        read_checkpoint(path)
    torch.save({"epoch": 3}, path)
    with raises_naming(CheckpointError, path, "epoch"):
        load_backbone(path)


def test_factories_that_are_not_there() -> None:
    for name in ("missing_module:factory", "networks:missing", "networks:"):
        with raises_naming(UsageError, repr(name), "package.module:factory"):
            find_backbone(name)
    with raises_naming(UsageError, "resnet", *backbone_names(), "package.module:factory"):
        find_backbone("resnet")


def test_registering_a_name_twice() -> None:
    with raises_naming(UsageError, "iresnet50"):
        register(Backbone(name="iresnet50", build=nn.Identity))


@pytest.mark.parametrize(
    ("key", "change", "fact"),
    [
        ("fc.weight", lambda value: value.int(), "int32"),
        ("fc.weight", lambda value: value.to(torch.complex64), "complex64"),
        ("fc.weight", lambda value: value.to(torch.float8_e4m3fn), "float8_e4m3fn"),
        ("fc.weight", lambda value: value * float("nan"), "NaN"),
        ("fc.bias", lambda value: value + float("inf"), "infinity"),
        ("fc.bias", lambda value: value.double() + 1e300, "infinity"),
        ("bn.running_var", lambda value: value - 3.0, "variances"),
    ],
    ids=["int32", "complex", "float8", "nan", "infinite", "overflow", "variances"],
)
def test_weights_that_are_other_numbers_are_named(key: str, change: Any, fact: str, tmp_path: Path) -> None:
    weights = randomize(find_backbone(FACTORY).build()).state_dict()
    torch.save(weights | {key: change(weights[key])}, tmp_path / "weights.pt")
    with raises_naming(CheckpointError, tmp_path / "weights.pt", key, fact):
        load_backbone(tmp_path / "weights.pt", FACTORY)


def test_a_known_network_with_wrong_numbers_is_not_an_unknown_one(tmp_path: Path) -> None:
    weights = find_backbone("mobilefacenet-y1").build().state_dict()
    weights["fbn.running_var"] -= 2.0
    torch.save(weights, tmp_path / "weights.pt")
    with raises_naming(CheckpointError, "fbn.running_var"):
        load_backbone(tmp_path / "weights.pt")


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_precisions_become_float32(kind: torch.dtype, tmp_path: Path) -> None:
    network = randomize(find_backbone(FACTORY).build())
    shrunk = {
        key: value.to(kind) if value.is_floating_point() else value for key, value in network.state_dict().items()
    }
    torch.save(shrunk, tmp_path / "weights.pt")
    loaded = load_backbone(tmp_path / "weights.pt", FACTORY)[1].state_dict()
    assert all(torch.equal(loaded[key], value.to(loaded[key].dtype)) for key, value in shrunk.items())


def test_tensors_of_other_dimensions_fit_no_backbone(tmp_path: Path) -> None:
    for weight in (torch.tensor(1.0), torch.zeros(0, 512), torch.zeros(1).expand(1 << 26)):
        torch.save({"fc.weight": weight, "features.layers.2.weight": weight}, tmp_path / "weights.pt")
        with raises_naming(CheckpointError, tmp_path / "weights.pt", "--backbone"):
            load_backbone(tmp_path / "weights.pt")


def lazy_network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(16))


def computing_network() -> nn.Module:
    """Looks at its own numbers while it is made, which a network without memory has none of."""
    network = teacher_network()
    network.rates = [float(value) for value in torch.linspace(0, 1, 3)]  # type: ignore[assignment]
    return network


def failing_network() -> nn.Module:
    message = "no such width"
    raise KeyError(message)


def leaving_network() -> nn.Module:
    """Prints, and leaves what torch does by default changed."""
    print("as the training code does")
    torch.set_default_dtype(torch.float16)
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    return teacher_network()


def half_network() -> nn.Module:
    return teacher_network().half()


def memoryless_network() -> nn.Module:
    with torch.device("meta"):
        return teacher_network()


@torch.inference_mode()
def inference_network() -> nn.Module:
    return teacher_network()


def network_of(width: int) -> nn.Module:
    return nn.Linear(width, width)


class Hiding(nn.Module):
    """Has a layer where no state dict sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.layers = teacher_network(), [nn.Linear(16, 16)]


class Stubborn(BottleneckNetwork):
    """Loads in a way of its own."""

    def __init__(self) -> None:
        super().__init__(stem_stride=8)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        message = "expected my own format"
        raise AssertionError(message)


@pytest.mark.parametrize(
    "factory", ["computing_network", "leaving_network", "half_network", "memoryless_network", "inference_network"]
)
def test_factories_may_do_what_they_like(factory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = randomize(teacher_network())
    path = save(network, tmp_path / "weights.pt")
    loaded = load_backbone(path, f"{__name__}:{factory}")[1]
    assert capsys.readouterr().out == ""
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.is_grad_enabled()
    images = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize(
    ("factory", "facts"),
    [
        ("sys:exit", ("SystemExit",)),
        ("os:getcwd", ("str",)),
        ("networks:BottleneckNetwork.forward", ()),
        ("test_backbones:network_of", ("without arguments", "width")),
        ("test_backbones:Hiding", ("'layers'", "nn.ModuleList")),
        ("test_backbones:Stubborn", ("AssertionError", "expected my own format")),
        ("builtins:list", ("list",)),
        ("test_backbones:failing_network", ("KeyError", "no such width")),
        ("test_backbones:lazy_network", ("1", "LazyLinear")),
    ],
)
def test_factories_that_make_no_network(factory: str, facts: tuple[str, ...], tmp_path: Path) -> None:
    torch.save(teacher_network().state_dict(), tmp_path / "weights.pt")
    with raises_naming(UsageError, factory, *facts):
        load_backbone(tmp_path / "weights.pt", factory)
