"""Tiny float networks of the kinds EFQ lowers, with random weights and BatchNorm statistics, and images for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from efq.runtime import InputContract
from efq.runtime.lineage.lineage import Lineage
from efq.toolchain.data import FaceSet
from efq.toolchain.lowering import LoweringReport, lower
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student
from efq.toolchain.teachers import Teacher, open_teacher
from efq.toolchain.teachers.normalized_network import NormalizedNetwork

MEAN, STD = (127.5, 127.5, 127.5), (128.0, 128.0, 128.0)
Network = TypeVar("Network", bound=nn.Module)
TEACHER = "networks:teacher_network"
SLOPES = (-0.6, 0.0, 0.25, 0.8, 1.0, 1.7)


def random_images(count: int, *, size: int = 28, seed: int = 0) -> Tensor:
    """Smooth random images, uint8 (count, size, size, 3)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator) * 255
    smooth = functional.interpolate(coarse, (size, size), mode="bilinear")
    return smooth.permute(0, 2, 3, 1).round().byte().contiguous()


@torch.no_grad()
def randomize(network: Network, *, seed: int = 0, slopes: tuple[float, ...] = SLOPES) -> Network:
    """Random weights that keep the signal's size, random BatchNorm statistics; PReLU slopes cycle through `slopes`."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            spread = (2.0 / module.weight[0].numel()) ** 0.5
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * spread)
            if module.bias is not None:
                uniform(module.bias, -0.2, 0.2)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            if module.affine:
                uniform(module.weight, 0.7, 1.4)
                uniform(module.bias, -0.3, 0.3)
            uniform(module.running_mean, -0.3, 0.3)
            uniform(module.running_var, 0.5, 2.0)
        elif isinstance(module, nn.PReLU):
            module.weight.copy_(torch.tensor(slopes).repeat(module.num_parameters)[: module.num_parameters])
    return network.eval()


def normalized(network: nn.Module) -> NormalizedNetwork:
    """The float function a lowered graph of `network` is compared with: uint8 images in."""
    result = NormalizedNetwork(network, MEAN, STD).eval()
    result.memory_format = torch.contiguous_format  # for networks with a view
    return result


def conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, PReLU."""
    return nn.Sequential(*linear_block(inputs, outputs, kernel, stride, groups), nn.PReLU(outputs))


def linear_block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm; zero padding but for 7x7 kernels."""
    padding = kernel // 2 if kernel < 7 else 0
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class BottleneckNetwork(nn.Module):
    """MobileFaceNet in small: bottlenecks with depthwise and residual, 7x7 global depthwise, fc and BatchNorm1d.

    (N, 3, S, S) -> (N, 16) for S = 14 * stem_stride.
    """

    def __init__(self, stem_stride: int = 2) -> None:
        super().__init__()
        self.stem = conv_block(3, 8, 3, stem_stride)
        self.down = nn.Sequential(conv_block(8, 16, 1), conv_block(16, 16, 3, 2, 16), linear_block(16, 8, 1))
        self.residual = nn.Sequential(conv_block(8, 16, 1), conv_block(16, 16, 3, 1, 16), linear_block(16, 8, 1))
        self.separate = conv_block(8, 24, 1)
        self.pool = linear_block(24, 24, 7, groups=24)
        self.fc = nn.Linear(24, 16)
        self.bn = nn.BatchNorm1d(16)

    def forward(self, images: Tensor) -> Tensor:
        features = self.down(self.stem(images))
        features = features + self.residual(features)
        result: Tensor = self.bn(self.fc(self.pool(self.separate(features)).flatten(1)))
        return result


class PreactivationBlock(nn.Module):
    """IResNet's block: BatchNorm before a zero-padded convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = linear_block(outputs, outputs, 3, stride)
        self.downsample = linear_block(inputs, outputs, 1, stride) if stride != 1 else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        inner = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        result: Tensor = self.conv2(inner) + self.downsample(features)
        return result


class PreactivationNetwork(nn.Module):
    """IResNet in small: (N, 3, 28, 28) -> (N, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_block(3, 8, 3, 2)
        self.blocks = nn.Sequential(PreactivationBlock(8, 12, 2), PreactivationBlock(12, 12, 1))
        self.bn = nn.BatchNorm2d(12)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(12 * 7 * 7, 16)
        self.features = nn.BatchNorm1d(16)

    def forward(self, images: Tensor) -> Tensor:
        features = self.dropout(self.bn(self.blocks(self.stem(images))))
        result: Tensor = self.features(self.fc(features.view(features.shape[0], -1)))
        return result


class PoolingNetwork(nn.Module):
    """ReLU6, one ReLU module called twice, LeakyReLU, concatenation, every kind of pooling.

    (N, 3, 28, 28) -> (N, 16).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*linear_block(3, 8, 3), nn.ReLU6(), nn.MaxPool2d(3, 2, 1))
        self.left = linear_block(8, 8, 3)
        self.right = linear_block(8, 8, 1)
        self.relu = nn.ReLU(inplace=True)
        self.narrow = nn.Sequential(*linear_block(16, 12, 1), nn.LeakyReLU(0.2), nn.AvgPool2d(2, 2))
        self.wide = nn.Conv2d(12, 24, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24, 16, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images[:, :, 2:26, 0:24])
        features = torch.cat([self.relu(self.left(features)), self.relu(self.right(features))], 1)
        features = self.pool(functional.relu(self.wide(self.narrow(features))))
        result: Tensor = self.fc(torch.flatten(features, 1))
        return result


class ConvolutionHead(nn.Module):
    """The embedding layer written as a 1x1 convolution behind a global one: (N, 3, 28, 28) -> (N, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_block(3, 8, 3, 4)
        self.pool = linear_block(8, 8, 7, groups=8)
        self.embedding = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.embedding(self.pool(self.stem(images)))
        return result


NETWORKS: dict[str, type[nn.Module]] = {
    "bottleneck": BottleneckNetwork,
    "preactivation": PreactivationNetwork,
    "pooling": PoolingNetwork,
    "convolution-head": ConvolutionHead,
}


def teacher_network() -> nn.Module:
    """A BottleneckNetwork for faces of 112x112: `--backbone networks:teacher_network`."""
    return BottleneckNetwork(stem_stride=8)


def random_rows(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal float32 values."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@torch.no_grad()
def relative_difference(found: nn.Module, wanted: nn.Module, images: Tensor) -> float:
    """The largest absolute difference of two networks' embeddings, relative to the largest absolute embedding value."""
    reference = wanted(images)
    return float((found(images) - reference).abs().max() / reference.abs().max())


def make_student(network: nn.Module, *, size: int = 28, images: int = 64, **recipe: Any) -> Student:
    """The untrained student of a tiny network for images of `size`; `recipe` changes its recipe."""
    chosen = Recipe(**{"name": "tiny", "activation": "prelu"} | recipe)
    graph, report = lower(network, chosen, random_images(images, size=size), mean=MEAN, std=STD)
    return student_of(graph, chosen, report, height=size, width=size)


def student_of(graph: fx.GraphModule, recipe: Recipe, report: LoweringReport, *, height: int, width: int) -> Student:
    """The untrained student of a lowered graph."""
    with torch.no_grad():
        embedding_size = int(graph(torch.zeros(1, height, width, 3, dtype=torch.uint8)).shape[1])
    return Student(
        network=graph,
        backbone="tiny",
        recipe=recipe,
        contract=InputContract(height=height, width=width),
        embedding_size=embedding_size,
        teacher={"name": "tiny", "sha256": "0" * 64, "licence": "Apache-2.0"},
        data={"images": 2, "identities": 1, "sha256": "1" * 64, "licence": "none"},
        activations=report.activations,
        notes=report.notes,
        training={"steps": 0, "loss": 0.25},
        thresholds={"1e-3": 0.5},
        training_hashes=("00112233445566aa", "ffeeddccbbaa0099"),
        lineage=Lineage(teacher_licence_source="as published", dataset="tiny faces"),
    )


def make_teacher(path: Path, *, seed: int = 0, slopes: tuple[float, ...] = (-0.3, 0.1, 0.4, 0.8)) -> Teacher:
    """A random `teacher_network` whose state dict is written to `path`."""
    torch.save(randomize(teacher_network(), seed=seed, slopes=slopes).state_dict(), path)
    return open_teacher(path, TEACHER)


def draw_faces(people: int = 8, each: int = 3) -> NDArray[np.uint8]:
    """`each` noisy images of each of `people` smooth random patterns, (people * each, 112, 112, 3)."""
    patterns = random_images(people, size=112).numpy().repeat(each, 0).astype(np.float64)
    noise = np.random.default_rng(0).normal(scale=12.0, size=patterns.shape)
    return np.clip(patterns + noise, 0, 255).astype(np.uint8)


def make_faces(people: int = 8, each: int = 3) -> FaceSet:
    """`draw_faces` as an open set."""
    labels = np.repeat(np.arange(people), each)
    return FaceSet(
        source="drawn",
        paths=tuple(f"{label}/{place}.png" for place, label in enumerate(labels)),
        labels=labels,
        identities=tuple(str(label) for label in range(people)),
        hashes=tuple(f"{place:064x}" for place in range(len(labels))),
        pixel_hashes=tuple(f"{place:064x}" for place in range(len(labels), 2 * len(labels))),
        unreadable=(),
        images=draw_faces(people, each),
    )


def write_faces(root: Path, people: int = 8, each: int = 3) -> Path:
    """`draw_faces` as a folder of PNG files by identity."""
    for place, face in enumerate(draw_faces(people, each)):
        folder = root / f"p{place // each}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{place % each}.png"), face[:, :, ::-1])
    return root


def pattern_network() -> nn.Module:
    """One convolution and a linear layer, for `make_pattern_teacher`: `--backbone networks:pattern_network`."""
    return nn.Sequential(nn.Conv2d(3, 24, 16, 16), nn.ReLU6(), nn.Flatten(), nn.Linear(24 * 7 * 7, 64))


@torch.no_grad()
def make_pattern_teacher(path: Path, fed: Callable[[Tensor], Tensor]) -> Path:
    """A network that tells the patterns of `draw_faces` apart as well as a trained one does faces: strangers' mean
    cosine is near 0, but only when its images, float32 (N, 3, 112, 112) of 0 to 255, are `fed` as here.

    Its linear layer whitens the convolution's values of 300 other patterns.
    """
    network = randomize(pattern_network())
    network[0].bias.fill_(3.0)
    features = network[:3](fed(random_images(300, size=112, seed=7).permute(0, 3, 1, 2).float()))
    mean = features.mean(0)
    _, lengths, directions = torch.linalg.svd(features - mean, full_matrices=False)
    linear = network[3]
    linear.weight.copy_(directions[:64] / lengths[:64, None])
    linear.bias.copy_(-linear.weight @ mean)
    torch.save(network.state_dict(), path)
    return path
