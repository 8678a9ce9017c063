"""The named networks are those that were published: their weights' names and shapes, their sizes, what they compute."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import raises_naming
from networks import randomize
from torch import Tensor, nn
from torch.nn import functional

from efq.runtime.errors import CheckpointError
from efq.toolchain.backbones import backbone_names, find_backbone, load_backbone
from efq.toolchain.backbones.checkpoint import _looked_at, open_backbone
from efq.toolchain.backbones.networks.ghostnet import GhostModule
from efq.toolchain.backbones.networks.ir import SqueezeExcitation, Unit
from efq.toolchain.backbones.networks.mixfacenet import MixedConv2d, MixUnit, UnitShape
from efq.toolchain.backbones.networks.pocketnet import FactorizedReduction
from efq.toolchain.backbones.networks.shufflefacenet import ShuffleUnit
from efq.toolchain.backbones.registry import backbones_by_keys
from efq.toolchain.checkpoints.weights_file import StoredTensor, WeightsFile
from efq.toolchain.teachers import open_teacher

Shapes = dict[str, tuple[int, ...]]

# name, arguments, millions of parameters and of multiply-adds. The authors' own: MixFaceNet 3.07, 3.95 and 1.04 M
# parameters, 451.7, 626.1 and 161.9 MFLOPs (two for a multiply-add, and those of BatchNorms and activations besides);
# PocketNet 0.92, 0.99, 1.68 and 1.75 M; MobileFaceNet 221 M multiply-adds; ShuffleFaceNet 2.6 M, 577.5 MFLOPs;
# AdaFace's IR-101 is a file of 261 MB.
SIZES: tuple[tuple[str, dict[str, Any], float, float], ...] = (
    ("shufflemixfacenet-m", {}, 3.953, 303.4),
    ("mixfacenet-s", {}, 3.073, 218.1),
    ("mixfacenet-s", {"scale": 0.5, "head": 512}, 1.041, 76.6),
    ("pocketnet", {}, 0.926, 283.5),
    ("pocketnet", {"width": 32, "cells": 9, "embedding_size": 256}, 1.752, 538.3),
    ("mobilefacenet-treb1en", {}, 1.201, 221.2),
    ("shufflefacenet", {}, 2.662, 288.7),
    ("ghostnet", {}, 26.759, 162.7),
    ("facenet-inception-resnet-v1", {}, 23.483, 1417.7),
    ("sphereface20", {}, 22.671, 1749.7),
    ("lightcnn9", {}, 5.4809, 976.7),
    ("lightcnn29", {}, 12.5733, 3619.2),
    ("lightcnn29-v2", {}, 10.4759, 3617.1),
    ("ir-se50", {}, 43.798, 6296.7),
    ("adaface-ir101", {}, 65.151, 12076.8),
)


@functools.cache
def built(name: str, **arguments: Any) -> nn.Module:
    """Without memory."""
    with torch.device("meta"):
        return find_backbone(name).build(**arguments).eval()


def shapes_of(network: nn.Module) -> Shapes:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def side_of(name: str, network: nn.Module) -> tuple[int, int]:
    size = getattr(network, "input_size", find_backbone(name).size)
    assert isinstance(size, tuple)
    return size


def multiply_adds(name: str, network: nn.Module) -> float:
    """Of convolutions and linear layers, in millions."""
    counted = []

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            counted.append(output.numel() * module.weight[0].numel())

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.device("meta"), torch.no_grad():
        network(torch.zeros(1, 1 if name.startswith("lightcnn") else 3, *side_of(name, network)))
    for hook in hooks:
        hook.remove()
    return sum(counted) / 1e6


@pytest.mark.parametrize(("name", "arguments", "parameters", "work"), SIZES, ids=lambda value: str(value))
def test_they_are_as_large_as_published(name: str, arguments: dict[str, Any], parameters: float, work: float) -> None:
    network = built(name, **arguments)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(parameters * 1e6, abs=600)
    assert multiply_adds(name, network) == pytest.approx(work, abs=0.1)


def test_each_has_the_keys_that_it_is_looked_for_by() -> None:
    for name in backbone_names():
        backbone = find_backbone(name)
        assert backbone.keys
        assert set(backbone.keys) <= set(built(name).state_dict())


def normalization(prefix: str, width: int, *, affine: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    names = ("weight", "bias") if affine else ()
    for key in (*names, "running_mean", "running_var"):
        yield f"{prefix}.{key}", (width,)
    yield f"{prefix}.num_batches_tracked", ()


def ir_layout(blocks: tuple[int, ...], *, normalized: bool, excitation: bool, affine: bool) -> Shapes:
    """As TreB1eN's model.py and AdaFace's net.py number the layers of IR and IR-SE."""
    found: Shapes = {"input_layer.0.weight": (64, 3, 3, 3), "input_layer.2.weight": (64,)}
    found |= normalization("input_layer.1", 64)
    index, inputs = 0, 64
    for width, count in zip((64, 128, 256, 512), blocks, strict=True):
        for _ in range(count):
            unit, at = f"body.{index}", 1 if normalized else 0
            found |= normalization(f"{unit}.res_layer.0", inputs)
            found[f"{unit}.res_layer.1.weight"] = (width, inputs, 3, 3)
            found |= normalization(f"{unit}.res_layer.2", width) if normalized else ()
            found[f"{unit}.res_layer.{2 + at}.weight"] = (width,)
            found[f"{unit}.res_layer.{3 + at}.weight"] = (width, width, 3, 3)
            found |= normalization(f"{unit}.res_layer.{4 + at}", width)
            if excitation:
                gate = f"{unit}.res_layer.{'se_block' if normalized else 5}"
                found |= {f"{gate}.fc1.weight": (width // 16, width, 1, 1)}
                found |= {f"{gate}.fc2.weight": (width, width // 16, 1, 1)}
            if inputs != width:
                found[f"{unit}.shortcut_layer.0.weight"] = (width, inputs, 1, 1)
                found |= normalization(f"{unit}.shortcut_layer.1", width)
            index, inputs = index + 1, width
    found |= normalization("output_layer.0", 512)
    found |= {"output_layer.3.weight": (512, 512 * 7 * 7), "output_layer.3.bias": (512,)}
    return found | dict(normalization("output_layer.4", 512, affine=affine))


@pytest.mark.parametrize(
    ("name", "blocks", "layout"),
    [
        ("ir50", (3, 4, 14, 3), {"normalized": False, "excitation": False, "affine": True}),
        ("ir-se50", (3, 4, 14, 3), {"normalized": False, "excitation": True, "affine": True}),
        ("curricularface-ir101", (3, 13, 30, 3), {"normalized": False, "excitation": False, "affine": False}),
        ("adaface-ir101", (3, 13, 30, 3), {"normalized": True, "excitation": False, "affine": False}),
        ("adaface-ir-se50", (3, 4, 14, 3), {"normalized": True, "excitation": True, "affine": False}),
    ],
)
def test_weights_of_the_ir_networks(name: str, blocks: tuple[int, ...], layout: dict[str, bool]) -> None:
    assert shapes_of(built(name)) == ir_layout(blocks, **layout)


def test_weights_of_facenet_are_those_of_facenet_pytorch() -> None:
    """The hash is of the state dict of facenet-pytorch 2.6.0's network, without the classifier of a training set."""
    shapes = sorted(shapes_of(built("facenet-inception-resnet-v1")).items())
    text = "\n".join(f"{key} {shape}" for key, shape in shapes)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "c0638fa983a7cf51"


def test_weights_of_the_others() -> None:
    """Some of each kind, as the authors' code names them."""
    for name, shapes in {
        "mobilefacenet-treb1en": {
            "conv1.conv.weight": (64, 3, 3, 3),
            "conv2_dw.prelu.weight": (64,),
            "conv_23.conv_dw.bn.bias": (128,),
            "conv_4.model.5.project.conv.weight": (128, 256, 1, 1),
            "conv_6_dw.conv.weight": (512, 1, 7, 7),
            "linear.weight": (512, 512),
            "bn.running_var": (512,),
        },
        "sphereface20": {
            "conv1_1.weight": (64, 3, 3, 3),
            "conv3_9.bias": (256,),
            "relu4_3.weight": (512,),
            "fc5.weight": (512, 21504),
        },
        "mixfacenet-s": {
            "features.init_block.conv1.activ.weight": (16,),
            "features.init_block.conv2.conv1.conv.weight": (16, 1, 3, 3),
            "features.stage1.unit1.exp_conv.conv.1.weight": (48, 8, 1, 1),
            "features.stage2.unit1.conv1.conv.2.weight": (48, 1, 7, 7),
            "features.stage2.unit1.se.conv1.weight": (12, 144, 1, 1),
            "features.stage4.unit4.conv1.conv.4.weight": (144, 1, 11, 11),
            "features.stage4.unit6.conv2.bn.weight": (200,),
            "tail.activ.weight": (1024,),
            "feautre_layer.dw_conv.conv.weight": (1024, 1, 7, 7),
            "feautre_layer.pw_conv.conv.weight": (512, 1024, 1, 1),
            "features_norm.running_mean": (512,),
        },
        "pocketnet": {
            "stem.1.weight": (64,),
            "cells.0.preproc0.net.1.weight": (64, 1, 1, 1),
            "cells.0.dag.1.1.net.1.weight": (16, 1, 5, 5),
            "cells.6.dag.2.0.bn.weight": (32,),
            "cells.7.preproc0.conv21.weight": (64, 1, 1, 1),
            "cells.17.dag.3.1.bn.running_var": (128,),
            "tail.4.weight": (512, 1, 7, 7),
            "tail.7.bias": (128,),
        },
        "ghostnet": {
            "conv_stem.weight": (16, 3, 3, 3),
            "blocks.3.0.conv_dw.weight": (72, 1, 5, 5),
            "blocks.3.0.se.conv_reduce.weight": (20, 72, 1, 1),
            "blocks.6.3.shortcut.2.weight": (112, 80, 1, 1),
            "blocks.8.3.ghost2.cheap_operation.0.weight": (80, 1, 3, 3),
            "blocks.9.0.bn1.weight": (960,),
            "output_layer.3.weight": (512, 47040),
        },
        "shufflefacenet": {
            "conv1.2.weight": (1,),
            "stage2.0.branch1.2.weight": (88, 24, 1, 1),
            "stage4.3.branch2.5.weight": (352, 352, 1, 1),
            "gdc.0.weight": (1024, 1, 7, 7),
            "linearconv.weight": (128, 1024, 1),
            "bn.running_mean": (128,),
        },
    }.items():
        found = shapes_of(built(name))
        assert {key: found.get(key) for key in shapes} == shapes


def stored(network: nn.Module, prefix: str = "", **others: tuple[int, ...]) -> WeightsFile:
    """As a file of the network's weights, and of `others`, is seen before any are read."""
    shapes = {prefix + key: shape for key, shape in shapes_of(network).items()} | others
    tensors = {key: StoredTensor(shape=shape) for key, shape in shapes.items()}
    return WeightsFile(path=Path("weights.pt"), format="torch", tensors=tensors)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ir-se50", {"embedding_size": 256}),
        ("adaface-ir34", {"cells": 14}),
        ("facenet-inception-resnet-v1", {}),
        ("lightcnn29-v2", {}),
        ("mobilefacenet-treb1en", {"embedding_size": 136, "cells": (7, 6)}),
        ("pocketnet", {"width": 32, "cells": 9, "embedding_size": 256}),
        ("ghostnet", {"embedding_size": 128}),
        ("shufflefacenet", {"widths": (116, 232, 464)}),
        ("iresnet18", {}),
    ],
    ids=lambda value: str(value),
)
def test_they_are_found_by_their_weights(name: str, arguments: dict[str, Any]) -> None:
    """Of the networks with telling names, the first that fits; behind a prefix, too. Sizes are read off."""
    network = built(name, **arguments)
    for file in (stored(network), stored(network, "state_dict.model.", head=(512, 1000))):
        found = _looked_at(backbones_by_keys(file.tensors), file)
        assert [backbone.name for backbone, fits in found if fits[0].fits] == [name]
    assert find_backbone(name).arguments_of(network.state_dict()).items() >= arguments.items()


def test_few_networks_are_built_for_a_file() -> None:
    for name in ("adaface-ir101", "ir-se50", "facenet-inception-resnet-v1", "pocketnet"):
        assert len(backbones_by_keys(list(built(name).state_dict()))) <= 4
    assert backbones_by_keys(["conv1.weight", "fc.weight"]) == ()


def test_a_network_that_its_weights_do_not_tell_has_to_be_named(tmp_path: Path) -> None:
    network = randomize(find_backbone("shufflemixfacenet-s").build(scale=0.5, head=64, embedding_size=16))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    with raises_naming(CheckpointError, tmp_path / "weights.pt", "mixfacenet-s", "shufflemixfacenet-s", "--backbone"):
        load_backbone(tmp_path / "weights.pt")
    images = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        shuffled, plain = (
            load_backbone(tmp_path / "weights.pt", name)[1](images) for name in ("shufflemixfacenet-s", "mixfacenet-s")
        )
        assert torch.equal(shuffled, network(images))
    assert not torch.allclose(shuffled, plain, atol=0.1)


@pytest.mark.slow
def test_another_network_of_the_same_weights_is_said(tmp_path: Path) -> None:
    network = randomize(find_backbone("iresnet18").build(embedding_size=16))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loaded = open_backbone(tmp_path / "weights.pt")
    assert loaded.backbone.name == "iresnet18"
    assert any("magface-iresnet18" in note for note in loaded.notes)
    named = open_backbone(tmp_path / "weights.pt", "magface-iresnet18").network
    assert {module.eps for module in named.modules() if isinstance(module, nn.BatchNorm2d)} == {2e-5}


@pytest.mark.slow
def test_a_network_trained_on_bgr_takes_rgb(tmp_path: Path) -> None:
    """AdaFace's reads channels B, G, R: the teacher's network has them reversed, and says so."""
    network = randomize(find_backbone("adaface-ir18").build(embedding_size=16))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    teacher = open_teacher(tmp_path / "weights.pt")
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = network((images.permute(0, 3, 1, 2).flip(1).float() / 255 - 0.5) / 0.5)
        torch.testing.assert_close(teacher.normalized(images), wanted, atol=1e-3, rtol=1e-3)
    assert (teacher.name, str(teacher.input), teacher.declared_input) == ("adaface-ir18", "bgr,-1..1", None)


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_parts_of_the_ir_networks() -> None:
    images = features(2, 32, 8, 8)
    gate = randomize(SqueezeExcitation(32))
    squeezed = torch.relu(images.mean((2, 3)) @ gate.fc1.weight[:, :, 0, 0].T)
    gates = torch.sigmoid(squeezed @ gate.fc2.weight[:, :, 0, 0].T)
    torch.testing.assert_close(gate(images), torch.einsum("nchw,nc->nchw", images, gates))
    halving = Unit(32, 32, 2, nn.Sequential(nn.AvgPool2d(2)))
    torch.testing.assert_close(halving(images), functional.avg_pool2d(images, 2) + images[:, :, ::2, ::2])


@torch.no_grad()
def test_parts_of_mixfacenet() -> None:
    images = features(2, 10, 8, 8)
    mixed = randomize(MixedConv2d(10, 10, 3, depthwise=True))
    parts = [
        functional.conv2d(part, kernel, padding=index + 1, groups=part.shape[1])
        for index, (part, kernel) in enumerate(zip(images.split([4, 3, 3], 1), mixed.parameters(), strict=True))
    ]
    torch.testing.assert_close(mixed(images), torch.cat(parts, 1))
    shape = UnitShape(width=10, expand=1, depthwise=1, project=1, expansion=2, squeeze=2)
    plain, shuffled = (randomize(MixUnit(10, shape, 1, prelu=True, shuffle=shuffle)) for shuffle in (False, True))
    torch.testing.assert_close(shuffled(images), plain(images)[:, [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]])


@torch.no_grad()
def test_parts_of_shufflefacenet() -> None:
    images = features(2, 8, 6, 6)
    unit = randomize(ShuffleUnit(8, 8, 1))
    halves = torch.cat([images[:, :4], unit.branch2(images[:, 4:])], 1)
    torch.testing.assert_close(unit(images), halves[:, [0, 4, 1, 5, 2, 6, 3, 7]])


@torch.no_grad()
def test_parts_of_pocketnet_and_ghostnet() -> None:
    images = features(2, 8, 6, 6)
    reduction = randomize(FactorizedReduction(8, 12))
    active = reduction.relu(images)
    halves = (
        reduction.conv12(reduction.conv11.weight.reshape(1, 8, 1, 1) * active[:, :, ::2, ::2]),
        reduction.conv22(reduction.conv21.weight.reshape(1, 8, 1, 1) * active[:, :, 1::2, 1::2]),
    )
    torch.testing.assert_close(reduction(images), reduction.bn(torch.cat(halves, 1)))
    ghost = randomize(GhostModule(8, 12, relu=True))
    primary = ghost.primary_conv(images)
    torch.testing.assert_close(ghost(images)[:, :6], primary)
    torch.testing.assert_close(ghost(images)[:, 6:], ghost.cheap_operation(primary))
