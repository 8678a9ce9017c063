"""Let a network that was trained on BGR or gray take RGB: the same function, its first layers' weights rearranged.

Where the layers that read the image cannot be told, or computing with rearranged weights does not give the same, the
channels are mixed in front of the network instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efq.toolchain.teachers.teacher_input import ColorOrder

LUMINANCE = (0.299, 0.587, 0.114)
"""Of R, G and B in Y: ITU-R BT.601, as OpenCV and Pillow make images gray. They sum to 1."""

_REVERSED = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
_TOLERANCE = 1e-4  # of the length of the embedding: float32 sums in another order


class ReversedColors(nn.Module):
    """(N, 3, H, W) RGB to `network`, which takes BGR."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.network(images.flip(1))
        return result


class LuminanceInFront(nn.Module):
    """(N, 3, H, W) RGB to `network`, which takes the luminance (N, `channels`, H, W), in each channel the same."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.luminance = nn.Conv2d(3, channels, 1, bias=False)
        self.network = network
        with torch.no_grad():
            self.luminance.weight.copy_(torch.tensor(LUMINANCE).reshape(1, 3, 1, 1).expand(channels, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.network(self.luminance(images))
        return result


@torch.no_grad()
def taking_rgb(network: nn.Module, color_order: ColorOrder, *, channels: int, size: tuple[int, int]) -> nn.Module:
    """`network`, which takes `channels` (1 or 3) of `color_order`, as one that takes RGB (N, 3, H, W).

    Exact but for rounding: with the same mean and std for all channels, a luminance of normalized colors is the
    normalized luminance. `network` is changed and no longer to be used.
    """
    if color_order == "rgb":
        return network
    gray = color_order == "gray"
    in_front = LuminanceInFront(network, channels) if gray else ReversedColors(network)
    in_front.eval().requires_grad_(False)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    wanted = in_front(images)
    mixture = torch.tensor((LUMINANCE,) * channels if gray else _REVERSED)
    layers = _reading_layers(in_front, network, images, channels)
    first = next((place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)), 0)
    for chosen in (layers, [*layers, *_normalizing_modules(network)], layers[: first + 1]):
        before = [
            dict(layer.__dict__, _parameters=dict(layer._parameters), _buffers=dict(layer._buffers)) for layer in chosen
        ]
        for layer in chosen:
            _mix(layer, mixture)
        if layers and _computes(network, images, wanted):
            return network
        for layer, state in zip(chosen, before, strict=True):
            layer.__dict__.update(state)
    return in_front


def _reading_layers(in_front: nn.Module, network: nn.Module, images: Tensor, channels: int) -> list[nn.Module]:
    """Convolutions and BatchNorms of `network` with as many input channels as the image, as they are called."""
    found: list[nn.Module] = []

    def keep(module: nn.Module, _: object) -> None:
        if module not in found:
            found.append(module)

    handles = [
        module.register_forward_pre_hook(keep)
        for module in network.modules()
        if (isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels == channels)
        or (isinstance(module, nn.BatchNorm2d) and module.num_features == channels)
    ]
    try:
        in_front(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _normalizing_modules(network: nn.Module) -> list[nn.Module]:
    """Those with tensors of their own of a number for each of three channels, as means of an image are."""
    return [
        module for module in network.modules() if any(_is_of_channels(value) for value in _own_tensors(module).values())
    ]


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _is_of_channels(tensor: Tensor) -> bool:
    """(3, 1, 1), with any more dimensions of 1 in front."""
    return tensor.dim() >= 3 and tensor.numel() == 3 and tensor.shape[-3] == 3


def _computes(network: nn.Module, images: Tensor, wanted: Tensor) -> bool:
    try:
        found = network(images)
    except Exception:  # of the network's own code, too
        return False
    error, length = (torch.linalg.vector_norm(values, dim=1) for values in (found - wanted, wanted))
    return bool((error <= _TOLERANCE * length).all())


def _mix(layer: nn.Module, mixture: Tensor) -> None:
    """Let the layer read `mixture` @ what it is given, in the channels: `mixture` is (channels read, 3)."""
    if isinstance(layer, nn.Conv2d):
        weight = torch.einsum("oikl,ic->ockl", layer.weight.double(), mixture.to(layer.weight).double())
        layer.weight, layer.in_channels = nn.Parameter(weight.to(layer.weight).contiguous(), requires_grad=False), 3
        return
    chosen = mixture.argmax(0)  # each of the three channels is one of the image's, or all are the same
    is_norm = isinstance(layer, nn.BatchNorm2d)
    for name, tensor in _own_tensors(layer).items():
        if (is_norm and tensor.dim() == 1) or _is_of_channels(tensor):
            mixed = tensor.index_select(0 if is_norm else -3, chosen)
            setattr(layer, name, nn.Parameter(mixed, requires_grad=False) if name in layer._parameters else mixed)
    if is_norm:
        layer.num_features = 3  # type: ignore[assignment]
