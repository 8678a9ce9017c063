"""What a teacher was trained to be fed: how it is said, and colors reversed in the weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from messages import names, raises_naming
from networks import NETWORKS, TEACHER, make_teacher, randomize
from torch import Tensor, fx, nn

from efq.runtime import InputContract
from efq.runtime.errors import CheckpointError, UsageError
from efq.runtime.faces.normalization import NORMALIZATIONS
from efq.toolchain.lowering import float_graph
from efq.toolchain.teachers import Normalization, open_teacher
from efq.toolchain.teachers.color_channels import LuminanceInFront, ReversedColors, taking_rgb
from efq.toolchain.teachers.declared_input import DeclaredInput
from efq.toolchain.teachers.teacher_input import ColorOrder, TeacherInput

DEFAULT = TeacherInput(color_order="rgb", normalization=Normalization(mean=(127.5,) * 3, std=(128.0,) * 3))


def declared(text: str) -> TeacherInput:
    return DeclaredInput.parse(text).completed(DEFAULT)


@pytest.mark.parametrize(
    ("text", "color", "mean", "std", "size"),
    [
        ("bgr", "bgr", (127.5,) * 3, (128.0,) * 3, (112, 112)),
        ("0..1", "rgb", (0.0,) * 3, (255.0,) * 3, (112, 112)),
        ("-1..1,bgr", "bgr", (127.5,) * 3, (127.5,) * 3, (112, 112)),
        (" BGR , imagenet", "bgr", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (112, 112)),
        ("bgr,93.6:104.8:129.2/1", "bgr", (129.2, 104.8, 93.6), (1.0,) * 3, (112, 112)),
        ("rgb,127.5/128,160x128", "rgb", (127.5,) * 3, (128.0,) * 3, (160, 128)),
        ("gray,0..1,112x96", "gray", (0.0,) * 3, (255.0,) * 3, (112, 96)),
        ("127.50196078431373/127.99", "rgb", (127.50196078431373,) * 3, (127.99,) * 3, (112, 112)),
    ],
)
def test_what_is_said(text: str, color: str, mean: object, std: object, size: object) -> None:
    found = declared(text)
    assert (found.color_order, found.normalization.mean, found.normalization.std) == (color, mean, std)
    assert found.size == size
    assert declared(str(found)) == found


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
        "gray,rgb",
        "160x160,arcface-112",
        "112x96,arcface-scaled",
        "arcface-113",
        "gray,imagenet",
        "gray,1:2:3/1",
        "1/",
    ],
)
def test_what_is_not_understood(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        declared(text)
    named = {"160x160,arcface-112": "160x160", "112x96,arcface-scaled": "112x96"}
    names(str(caught.value), "gray" if "gray," in text else named.get(text, repr(text)))


@given(st.text(alphabet="rgb,.:/-0123456789x ", max_size=24))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = declared(text)
    except UsageError:
        return
    assert declared(str(found)) == found


def test_what_a_network_cannot_tell_apart() -> None:
    usual = [TeacherInput(color_order="rgb", normalization=known) for known in NORMALIZATIONS.values()]
    assert DEFAULT.same_as(declared("-1..1"))
    assert not DEFAULT.same_as(declared("bgr"))
    assert [[one.same_as(two) for two in usual] for one in usual] == [[a == b for b in range(5)] for a in range(5)]


def rgb_images(count: int = 3, size: int = 28) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def in_order(images: Tensor, color: ColorOrder, channels: int) -> Tensor:
    """What a network of that kind is trained on, (N, channels, H, W), computed by the standard's own numbers."""
    if color == "bgr":
        return images[:, [2, 1, 0]]
    luma = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    return torch.stack([luma] * channels, 1)


@torch.no_grad()
def check_takes_rgb(network: nn.Module, color: ColorOrder, channels: int, size: int = 28) -> nn.Module:
    images = rgb_images(size=size)
    wanted = network(in_order(images, color, channels))
    found = taking_rgb(network, color, channels=channels, size=(size, size))
    torch.testing.assert_close(found(images), wanted, atol=1e-4, rtol=1e-4)
    return found


@pytest.mark.parametrize("color", ["bgr", "gray"])
@pytest.mark.parametrize("name", NETWORKS)
def test_colors_go_into_the_weights(name: str, color: ColorOrder) -> None:
    network = randomize(NETWORKS[name]())
    assert check_takes_rgb(network, color, 3) is network


def gray_network() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 8, 3, 2, 1), nn.PReLU(8), nn.Flatten(), nn.Linear(8 * 196, 16))


def test_one_channel_becomes_three_in_the_weights() -> None:
    network = randomize(gray_network())
    assert check_takes_rgb(network, "gray", 1) is network
    assert network[1].weight.shape == (8, 3, 3, 3)  # type: ignore[index,union-attr]


class Functional(nn.Module):
    """No module reads the image, and its size decides: fx.symbolic_trace cannot follow it."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, channels, 5, 5, generator=generator))
        self.head = nn.Linear(8, 16)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] % 2:
            raise ValueError
        features = nn.functional.conv2d(images, self.weight, stride=2).relu()
        result: Tensor = self.head(features.mean((2, 3)))
        return result


class Normalizing(nn.Module):
    """Means by channel inside, in its own order."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor((0.1, 0.5, -0.3)).reshape(1, 3, 1, 1))
        self.body = randomize(NETWORKS["bottleneck"]())

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.body((images - self.mean) * 0.8)
        return result


class FirstChannel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 28)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images[:, :1]).flatten(1)


class Gated(nn.Module):
    """Another convolution of three channels behind the one that reads the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.gate = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 16)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        gated = features * self.gate(features.mean((2, 3), keepdim=True)).sigmoid()
        result: Tensor = self.head(gated.relu().mean((2, 3)))
        return result


def test_colors_in_front_of_a_network_whose_weights_cannot_take_them() -> None:
    assert check_takes_rgb(normalizing := Normalizing().eval(), "bgr", 3) is normalizing
    for network in (Functional(), FirstChannel()):
        before = {key: value.clone() for key, value in network.state_dict().items()}
        found = check_takes_rgb(network.eval(), "bgr", 3)
        assert isinstance(found, ReversedColors)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert isinstance(check_takes_rgb(Functional(1), "gray", 1), LuminanceInFront)
    gated = randomize(Gated())
    assert check_takes_rgb(gated, "bgr", 3) is gated
    assert check_takes_rgb(gated, "gray", 3) is gated


def test_a_traced_network_takes_colors_in_its_weights() -> None:
    traced = fx.symbolic_trace(randomize(NETWORKS["bottleneck"]()))
    assert check_takes_rgb(traced, "bgr", 3) is traced


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
    from efq.toolchain.backbones.networks.iresnet import IResNet

    for cells, side, alignment in ((7, 112, "arcface-112"), (10, 160, "custom")):
        path = tmp_path / f"{side}.pt"
        torch.save(IResNet(18, 8, cells).state_dict(), path)
        teacher = open_teacher(path)
        assert (teacher.name, teacher.contract, teacher.size_known) == (
            "iresnet18",
            InputContract(height=side, width=side, alignment=alignment),
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


GRAY = f"{__name__}:gray_pooling_network"


def gray_pooling_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16))


def test_a_gray_teacher_takes_color_faces(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    original = randomize(gray_pooling_network())
    torch.save(original.state_dict(), path)
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gray = (images.double() @ torch.tensor((0.299, 0.587, 0.114)).double()).float()[:, None]
    for text, mean, std in ((None, 127.5, 127.5), ("0..1", 0.0, 255.0), ("gray,127.5/128", 127.5, 128.0)):
        teacher = open_teacher(path, GRAY, text)
        with torch.no_grad():
            wanted = original((gray - mean) / std)
            torch.testing.assert_close(teacher.normalized(images), wanted, atol=1e-4, rtol=1e-4)
            graph = float_graph(teacher.network, teacher.normalization.mean, teacher.normalization.std)
            torch.testing.assert_close(graph(images), wanted, atol=1e-4, rtol=1e-4)
        assert teacher.input.color_order == "gray"
    with raises_naming(UsageError, "gray", "rgb"):
        open_teacher(path, GRAY, "rgb")


FLAT = f"{__name__}:flat_network"


def flat_network() -> nn.Module:
    """Takes 112 rows of 96 columns and no others."""
    return nn.Sequential(nn.Conv2d(3, 4, 7, 8), nn.ReLU(), nn.Conv2d(4, 16, (14, 12)), nn.Flatten(), nn.Linear(16, 8))


def odd_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 7, 8), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 16, 16))


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = pooling_network()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.body(images)
        return found.norm(dim=1, keepdim=True), found[..., None, None]


class OneByOne(nn.Module):
    """Made for one image at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body = pooling_network()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(images)
        return found.reshape(1, -1)


def test_the_only_size_a_network_takes_is_known(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(flat_network().state_dict(), path)
    teacher = open_teacher(path, FLAT)
    assert (teacher.contract, teacher.size_known) == (
        InputContract(height=112, width=96, alignment="arcface-112x96"),
        True,
    )
    assert str(teacher.input) == "rgb,-1..1,112x96"
    with raises_naming(CheckpointError, "96x112", "--teacher-input 112x96"):
        open_teacher(path, FLAT, "96x112")
    torch.save(odd_network().state_dict(), path)
    with raises_naming(CheckpointError, "112x112", "--teacher-input HEIGHTxWIDTH"):
        open_teacher(path, f"{__name__}:odd_network")
    assert open_teacher(path, f"{__name__}:odd_network", "96x128").contract.alignment == "custom"


def test_what_a_network_returns_besides_its_embedding(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(randomize(TwoOutputs()).state_dict(), path)
    teacher = open_teacher(path, f"{__name__}:TwoOutputs")
    assert teacher.network(torch.zeros(3, 3, 112, 112)).shape == (3, 16)
    torch.save(randomize(OneByOne()).state_dict(), path)
    with raises_naming(CheckpointError, "(1, 32)"):
        open_teacher(path, f"{__name__}:OneByOne")


@pytest.mark.parametrize(
    ("size", "alignment"),
    [
        ("112x112", "arcface-112"),
        ("224x224", "arcface-112"),
        ("128x128", "arcface-128"),
        ("112x96", "arcface-112x96"),
        ("160x160", "custom"),
        ("160x160,arcface-scaled", "arcface-scaled"),
        ("128x128,arcface-scaled", "arcface-scaled"),
        ("112x112,custom", "custom"),
    ],
)
def test_the_template_of_a_size(size: str, alignment: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(pooling_network().state_dict(), path)
    teacher = open_teacher(path, f"{__name__}:pooling_network", size)
    assert teacher.contract.alignment == alignment
    assert declared(str(teacher.input)) == teacher.input


class NormalizesItself(nn.Module):
    """As SFace: pixels of 0 to 255 in, (x - 127.5) / 128 inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 32, 3, 2, 1), nn.PReLU(32), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.body((images - 127.5) * 0.0078125)
        return result


@pytest.mark.parametrize(("text", "color"), [(None, "rgb"), ("0..255", "rgb"), ("bgr", "bgr"), ("gray", "gray")])
@pytest.mark.parametrize("channels", [3, 1])
def test_what_an_onnx_file_does_itself_comes_after_what_is_said(
    channels: int, text: str | None, color: ColorOrder, tmp_path: Path
) -> None:
    path = tmp_path / "network.onnx"
    original = randomize(NormalizesItself(channels))
    export_float(original, path, channels)
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if channels == 1 and color == "bgr":
        with raises_naming(UsageError, "gray", "bgr"):
            open_teacher(path, None, text)
        return
    color = "gray" if channels == 1 else color
    teacher = open_teacher(path, None, text)
    assert str(teacher.input) == f"{color},0..255"
    assert any(note.startswith(f"input: {teacher.input}") for note in teacher.notes) == (text is not None)
    planes = images.permute(0, 3, 1, 2).float()
    with torch.no_grad():
        wanted = original(planes if color == "rgb" else in_order(planes, color, channels))
        torch.testing.assert_close(teacher.normalized(images), wanted, atol=1e-3, rtol=1e-3)
    again = open_teacher(path, None, str(teacher.input))
    torch.testing.assert_close(again.normalized(images), teacher.normalized(images))


def export_float(network: nn.Module, path: Path, channels: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.zeros(1, channels, 112, 112),), str(path), dynamo=False, input_names=["x"]
        )
