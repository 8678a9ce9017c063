"""Public MobileFaceNet variants with other key names than arcface_torch's.

`mobilefacenet-y1` is InsightFace's model-y1, `mobilefacenet-relu6` and `mobilefacenet-112x96` are widely used PyTorch
MobileFaceNets, `mobileface-v2` is MobileFace_Identification_V2.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from efq.toolchain.backbones.registry import Backbone, register

# expansion, output channels, blocks, stride of the first block
MOBILEFACENET_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class NamedConvBlock(nn.Module):
    """Convolution `conv`, BatchNorm `bn` and, unless `linear`, PReLU `prelu`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        *,
        linear: bool = False,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=epsilon)
        self.prelu = nn.Identity() if linear else nn.PReLU(outputs)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.prelu(self.bn(self.conv(features)))
        return result


class Y1(nn.Module):
    """InsightFace's model-y1 (128-d, PReLU): (N, 3, 112, 112) -> (N, 128)."""

    UNITS = (
        (64, 128, 64, 2),
        *[(64, 128, 64, 1)] * 4,
        (64, 256, 128, 2),
        *[(128, 256, 128, 1)] * 6,
        (128, 512, 128, 2),
        *[(128, 256, 128, 1)] * 2,
    )

    def __init__(self) -> None:
        super().__init__()

        def block(*sizes: int, linear: bool = False) -> NamedConvBlock:
            return NamedConvBlock(*sizes, linear=linear, epsilon=1e-3)

        self.stem = block(3, 64, 3, 2, 1)
        self.dw0 = block(64, 64, 3, 1, 1, 64)
        self.units = nn.ModuleList(
            nn.Sequential(block(i, h, 1), block(h, h, 3, s, 1, h), block(h, o, 1, linear=True))
            for i, h, o, s in self.UNITS
        )
        self.sep = block(128, 512, 1)
        self.gd = block(512, 512, 7, 1, 0, 512, linear=True)
        self.fc = nn.Linear(512, 128)
        self.fbn = nn.BatchNorm1d(128, eps=2e-5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.dw0(self.stem(images))
        for unit, (inputs, _, outputs, stride) in zip(self.units, self.UNITS, strict=True):
            residual = inputs == outputs and stride == 1
            features = features + unit(features) if residual else unit(features)
        result: Tensor = self.fbn(self.fc(self.gd(self.sep(features)).flatten(1)))
        return result


class InvertedResidual(nn.Module):
    """Bottleneck whose layers are one flat or nested sequence `conv`, as `layout` names it."""

    def __init__(self, inputs: int, outputs: int, stride: int, layers: nn.Sequential) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.conv = layers

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(features)
        return features + result if self.residual else result


def _bottlenecks(layers: Callable[[int, int, int, int], nn.Sequential]) -> nn.Sequential:
    blocks: list[nn.Module] = []
    inputs = 64
    for expansion, outputs, count, first_stride in MOBILEFACENET_STAGES:
        for index in range(count):
            stride = first_stride if index == 0 else 1
            sequence = layers(inputs, inputs * expansion, outputs, stride)
            blocks.append(InvertedResidual(inputs, outputs, stride, sequence))
            inputs = outputs
    return nn.Sequential(*blocks)


def _relu6_block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class DepthwiseSeparable(nn.Module):
    """3x3 depthwise, ReLU, 1x1, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.depthwise(features)))
        return functional.relu(self.bn2(self.pointwise(hidden)))


class GlobalDepthwise(nn.Module):
    """7x7 global depthwise convolution and its BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, groups=width, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.bn(self.depthwise(features))
        return result


class ReLU6MobileFaceNet(nn.Module):
    """MobileFaceNet with ReLU6: (N, 3, 112, 112) -> (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _relu6_block(3, 64, 3, 2)
        self.dw_conv = DepthwiseSeparable(64)
        self.features = _bottlenecks(
            lambda i, h, o, s: nn.Sequential(
                _relu6_block(i, h, 1), _relu6_block(h, h, 3, s, h), nn.Conv2d(h, o, 1, bias=False), nn.BatchNorm2d(o)
            )
        )
        self.conv2 = _relu6_block(128, 512, 1)
        self.gdconv = GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, images: Tensor) -> Tensor:
        features = self.gdconv(self.conv2(self.features(self.dw_conv(self.conv1(images)))))
        result: Tensor = self.bn(self.conv3(features)).flatten(1)
        return result


class MobileFaceNet112x96(nn.Module):
    """MobileFaceNet on the middle 96 columns of the aligned face: (N, 3, 112, 112) -> (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = NamedConvBlock(3, 64, 3, 2, 1)
        self.dw_conv1 = NamedConvBlock(64, 64, 3, 1, 1, 64)
        self.blocks = _bottlenecks(
            lambda i, h, o, s: nn.Sequential(
                nn.Conv2d(i, h, 1, bias=False),
                nn.BatchNorm2d(h),
                nn.PReLU(h),
                nn.Conv2d(h, h, 3, s, 1, groups=h, bias=False),
                nn.BatchNorm2d(h),
                nn.PReLU(h),
                nn.Conv2d(h, o, 1, bias=False),
                nn.BatchNorm2d(o),
            )
        )
        self.conv2 = NamedConvBlock(128, 512, 1)
        self.linear7 = NamedConvBlock(512, 512, (7, 6), groups=512, linear=True)
        self.linear1 = NamedConvBlock(512, 128, 1, linear=True)

    def forward(self, images: Tensor) -> Tensor:
        features = self.dw_conv1(self.conv1(images[:, :, :, 8:104]))
        result: Tensor = self.linear1(self.linear7(self.conv2(self.blocks(features)))).flatten(1)
        return result


class MobileFaceV2(nn.Module):
    """A MobileNetV2-like network with ReLU6: (N, 3, 112, 112) -> (N, 256)."""

    UNITS = (
        (32, 96, 32, 2),
        *[(32, 96, 32, 1)] * 2,
        (32, 96, 32, 2),
        *[(32, 96, 32, 1)] * 2,
        (32, 96, 64, 2),
        *[(64, 192, 64, 1)] * 2,
        (64, 192, 128, 2),
        *[(128, 384, 128, 1)] * 2,
    )

    def __init__(self) -> None:
        super().__init__()

        def layers(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
            convolution = nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False)
            return [convolution, nn.BatchNorm2d(o, eps=1e-3)]

        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32, eps=1e-3), nn.ReLU6())
        self.units = nn.ModuleList(
            nn.Sequential(*layers(i, h, 1), nn.ReLU6(), *layers(h, h, 3, s, h), nn.ReLU6(), *layers(h, o, 1))
            for i, h, o, s in self.UNITS
        )
        self.fc = nn.Linear(2048, 256, bias=False)
        self.fbn = nn.BatchNorm1d(256, eps=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for unit, (_, _, _, stride) in zip(self.units, self.UNITS, strict=True):
            features = features + unit(features) if stride == 1 else unit(features)
        result: Tensor = self.fbn(self.fc(features.flatten(1)))
        return result


_LICENCE = "weights as published, research use"
_IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
_INSIGHTFACE_STD = (128.0, 128.0, 128.0)

register(
    Backbone(
        name="mobilefacenet-y1", build=Y1, std=_INSIGHTFACE_STD, keys=("stem.conv.weight", "fbn.bias"), licence=_LICENCE
    )
)
register(
    Backbone(
        name="mobilefacenet-112x96",
        build=MobileFaceNet112x96,
        std=_INSIGHTFACE_STD,
        keys=("linear7.conv.weight", "linear1.conv.weight"),
        licence=_LICENCE,
    )
)
register(
    Backbone(
        name="mobileface-v2",
        build=MobileFaceV2,
        std=_INSIGHTFACE_STD,
        keys=("stem.0.bias", "units.11.6.weight"),
        licence=_LICENCE,
    )
)
register(
    Backbone(
        name="mobilefacenet-relu6",
        build=ReLU6MobileFaceNet,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        keys=("gdconv.depthwise.weight", "conv3.bias"),
        licence=_LICENCE,
    )
)
