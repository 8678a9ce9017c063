"""What a teacher was trained to be fed: how it is said, and colors reversed in the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming
from networks import NETWORKS, TEACHER, make_teacher, randomize
from torch import Tensor, nn

from efq.runtime import InputContract
from efq.runtime.errors import CheckpointError, UsageError
from efq.toolchain.lowering import float_graph
from efq.toolchain.teachers import Normalization, open_teacher
from efq.toolchain.teachers.reverse_colors import reverse_colors
from efq.toolchain.teachers.teacher_input import NORMALIZATIONS, TeacherInput

DEFAULT = TeacherInput(color_order="rgb", normalization=Normalization(mean=(127.5,) * 3, std=(128.0,) * 3))


@pytest.mark.parametrize(
    ("text", "color", "mean", "std", "size"),
    [
        ("bgr", "bgr", (127.5,) * 3, (128.0,) * 3, (112, 112)),
        ("0..1", "rgb", (0.0,) * 3, (255.0,) * 3, (112, 112)),
        ("-1..1,bgr", "bgr", (127.5,) * 3, (127.5,) * 3, (112, 112)),
        (" BGR , imagenet", "bgr", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (112, 112)),
        ("bgr,93.6:104.8:129.2/1", "bgr", (129.2, 104.8, 93.6), (1.0,) * 3, (112, 112)),
        ("rgb,127.5/128,160x128", "rgb", (127.5,) * 3, (128.0,) * 3, (160, 128)),
    ],
)
def test_what_is_said(text: str, color: str, mean: object, std: object, size: object) -> None:
    found = TeacherInput.parse(text, DEFAULT)
    assert (found.color_order, found.normalization.mean, found.normalization.std) == (color, mean, std)
    assert found.size == size
    assert TeacherInput.parse(str(found), DEFAULT) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "grb",
        "rgb,bgr",
        "bgr,",
        "0..1,-1..1",
        "1/0",
        "1/-2",
        "1:2/3",
        "nan/1",
        "1e9/1",
        "0x0",
        "9999x9999",
        "1/",
    ],
)
def test_what_is_not_understood(text: str) -> None:
    with raises_naming(UsageError, repr(text), "bgr,0..1"):
        TeacherInput.parse(text, DEFAULT)


@given(st.text(alphabet="rgb,.:/-0123456789x ", max_size=24))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = TeacherInput.parse(text, DEFAULT)
    except UsageError:
        return
    assert TeacherInput.parse(str(found), DEFAULT).same_as(found)


def test_what_a_network_cannot_tell_apart() -> None:
    usual = [TeacherInput(color_order="rgb", normalization=known) for known in NORMALIZATIONS.values()]
    assert DEFAULT.same_as(TeacherInput.parse("-1..1", DEFAULT))
    assert not DEFAULT.same_as(TeacherInput.parse("bgr", DEFAULT))
    assert [[one.same_as(two) for two in usual] for one in usual] == [[a == b for b in range(5)] for a in range(5)]


@pytest.mark.parametrize("name", NETWORKS)
def test_reversed_colors_are_the_same_function(name: str) -> None:
    network = randomize(NETWORKS[name]())
    images = torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted = network(images)
        reverse_colors(network, height=28, width=28)
        torch.testing.assert_close(network(images.flip(1)), wanted, atol=1e-4, rtol=1e-4)


class FirstChannel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 28)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images[:, :1]).flatten(1)


def test_colors_that_cannot_be_reversed() -> None:
    network = FirstChannel()
    before = network.conv.weight.clone()
    with raises_naming(CheckpointError, "FirstChannel"):
        reverse_colors(network, height=28, width=28)
    assert torch.equal(network.conv.weight, before)


def test_a_teacher_fed_otherwise(tmp_path: Path) -> None:
    """The teacher, and the graph that a student is made of, take RGB bytes and give the original on its own input."""
    original = make_teacher(tmp_path / "teacher.pt")
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = original.network(images.permute(0, 3, 1, 2).flip(1).float() / 255)
        teacher = open_teacher(tmp_path / "teacher.pt", TEACHER, "bgr,0..1")
        torch.testing.assert_close(teacher.normalized(images), wanted, atol=1e-3, rtol=1e-3)
        graph = float_graph(teacher.network, teacher.normalization.mean, teacher.normalization.std)
        torch.testing.assert_close(graph(images), wanted, atol=1e-3, rtol=1e-3)
    assert (str(teacher.input), str(teacher.declared_input), original.declared_input) == ("bgr,0..1", "bgr,0..1", None)
    with raises_naming(CheckpointError, "160x160"):  # its last convolution is as large as the features of 112x112
        open_teacher(tmp_path / "teacher.pt", TEACHER, "160x160")


@pytest.mark.slow
def test_the_size_of_an_iresnet_is_read_off_its_weights(tmp_path: Path) -> None:
    from efq.toolchain.backbones.iresnet import IResNet

    for cells, side in ((7, 112), (10, 160)):
        path = tmp_path / f"{side}.pt"
        torch.save(IResNet(18, 8, cells).state_dict(), path)
        teacher = open_teacher(path)
        assert (teacher.name, teacher.contract, teacher.size_known) == (
            "iresnet18",
            InputContract(height=side, width=side),
            True,
        )


def pooling_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16))


def sized_network() -> nn.Module:
    return pooling_network()


sized_network.input_size = (160, 128)  # type: ignore[attr-defined]


def wrong_network() -> nn.Module:
    return pooling_network()


wrong_network.input_size = "large"  # type: ignore[attr-defined]


def test_a_factory_says_its_size(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(pooling_network().state_dict(), path)
    sized = open_teacher(path, f"{__name__}:sized_network")
    assert (sized.contract.height, sized.contract.width, sized.size_known) == (160, 128, True)
    assert not open_teacher(path, f"{__name__}:pooling_network").size_known
    assert open_teacher(path, f"{__name__}:pooling_network", "160x160").size_known
    with raises_naming(UsageError, "input_size", "'large'"):
        open_teacher(path, f"{__name__}:wrong_network")
