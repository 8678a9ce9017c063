"""FaceNet's Inception-ResNet-v1 with facenet-pytorch's keys (Szegedy et al. 2016, arXiv 1602.07261)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, register


class ConvBlock(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.relu(self.bn(self.conv(features)))
        return result


class Branches(nn.Module):
    """The modules `branch0`, `branch1`, ... of the same features, one behind the other along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.names = [f"branch{index}" for index in range(len(branches))]
        for name, branch in zip(self.names, branches, strict=True):
            self.add_module(name, branch)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([getattr(self, name)(features) for name in self.names], 1)


class ResidualBranches(Branches):
    """Branches, a 1x1 convolution of their features, `scale` of it added to the input, and a ReLU unless `linear`."""

    def __init__(self, width: int, inner: int, scale: float, *branches: nn.Module, linear: bool = False) -> None:
        super().__init__(*branches)
        self.scale = scale
        self.conv2d = nn.Conv2d(inner, width, 1)
        self.relu = nn.Identity() if linear else nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.relu(self.conv2d(super().forward(features)) * self.scale + features)
        return result


def _block35() -> ResidualBranches:
    def first() -> ConvBlock:
        return ConvBlock(256, 32, 1)

    def second() -> ConvBlock:
        return ConvBlock(32, 32, 3, 1, 1)

    branches = (first(), nn.Sequential(first(), second()), nn.Sequential(first(), second(), second()))
    return ResidualBranches(256, 96, 0.17, *branches)


def _two_branches(width: int, inner: int, kernel: int, scale: float, *, linear: bool = False) -> ResidualBranches:
    half = kernel // 2
    chain = nn.Sequential(
        ConvBlock(width, inner, 1),
        ConvBlock(inner, inner, (1, kernel), 1, (0, half)),
        ConvBlock(inner, inner, (kernel, 1), 1, (half, 0)),
    )
    return ResidualBranches(width, 2 * inner, scale, ConvBlock(width, inner, 1), chain, linear=linear)


def _repeated(count: int, block: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*[block() for _ in range(count)])


class InceptionResNetV1(nn.Module):
    """float32 (N, 3, 160, 160) -> (N, 512) raw embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = ConvBlock(3, 32, 3, 2)
        self.conv2d_2a = ConvBlock(32, 32, 3)
        self.conv2d_2b = ConvBlock(32, 64, 3, 1, 1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = ConvBlock(64, 80, 1)
        self.conv2d_4a = ConvBlock(80, 192, 3)
        self.conv2d_4b = ConvBlock(192, 256, 3, 2)
        self.repeat_1 = _repeated(5, _block35)
        self.mixed_6a = Branches(
            ConvBlock(256, 384, 3, 2),
            nn.Sequential(ConvBlock(256, 192, 1), ConvBlock(192, 192, 3, 1, 1), ConvBlock(192, 256, 3, 2)),
            nn.MaxPool2d(3, 2),
        )
        self.repeat_2 = _repeated(10, lambda: _two_branches(896, 128, 7, 0.10))
        self.mixed_7a = Branches(
            nn.Sequential(ConvBlock(896, 256, 1), ConvBlock(256, 384, 3, 2)),
            nn.Sequential(ConvBlock(896, 256, 1), ConvBlock(256, 256, 3, 2)),
            nn.Sequential(ConvBlock(896, 256, 1), ConvBlock(256, 256, 3, 1, 1), ConvBlock(256, 256, 3, 2)),
            nn.MaxPool2d(3, 2),
        )
        self.repeat_3 = _repeated(5, lambda: _two_branches(1792, 192, 3, 0.20))
        self.block8 = _two_branches(1792, 192, 3, 1.0, linear=True)
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(images)))
        features = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(features))))
        features = self.mixed_7a(self.repeat_2(self.mixed_6a(self.repeat_1(features))))
        features = self.avgpool_1a(self.block8(self.repeat_3(features)))
        result: Tensor = self.last_bn(self.last_linear(torch.flatten(features, 1)))
        return result


register(
    Backbone(
        name="facenet-inception-resnet-v1",
        build=InceptionResNetV1,
        std=(128.0, 128.0, 128.0),
        size=(160, 160),
        keys=("conv2d_1a.conv.weight", "repeat_2.9.branch1.2.conv.weight", "last_linear.weight"),
        licence="MIT",
        provenance="published with facenet-pytorch; trained on VGGFace2 or CASIA-WebFace, whose terms are for research",
    )
)
