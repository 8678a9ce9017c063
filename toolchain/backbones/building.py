"""Networks made by code that is not EFQ's: on the CPU, in float32, whatever it does on the way."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from efq.runtime.errors import UsageError
from efq.toolchain.backbones.registry import Backbone


def build(backbone: Backbone, arguments: Mapping[str, Any]) -> nn.Module:
    """The network `backbone.build(**arguments)`, float32 on the CPU.

    What its code prints goes to stderr. Raises UsageError for a factory that fails, or makes anything but a whole
    network: lazy layers, or layers in a list that torch does not see.
    """
    name = backbone.name
    try:
        with _kept_settings(), contextlib.redirect_stdout(sys.stderr):
            network = backbone.build(**arguments)
    except (Exception, SystemExit) as error:  # of another's code
        message = (
            f"expected {name} to make a network when it is called without arguments, found {type(error).__name__}: "
            f"{str(error)[:300]}; mend the factory"
        )
        raise UsageError(message) from error
    if not isinstance(network, nn.Module):
        found = f"the class {network.__name__}" if isinstance(network, type) else type(network).__name__
        message = f"expected {name} to make an nn.Module, found {found}; name a function or class that returns one"
        raise UsageError(message)
    if isinstance(network, torch.jit.ScriptModule):
        message = f"expected {name} to make an nn.Module, found a TorchScript module; name the code it was made of"
        raise UsageError(message)
    _refuse_lazy(network, name)
    _refuse_hidden(network, name)
    if any(value.device.type not in ("cpu", "meta") for value in (*network.parameters(), *network.buffers())):
        network = network.cpu()
    return network.float()


def fill(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Give `network`, called `name`, its `weights`; counters of batches are left as they are.

    Raises UsageError for a network with code of its own that does not load them, and for tensors without memory that
    the weights do not give.
    """
    values = (*network.parameters(), *network.buffers())
    replaced = any(value.is_meta or value.is_inference() for value in values)
    try:
        network.load_state_dict(dict(weights), strict=False, assign=replaced)
    except Exception as error:  # of another's code
        message = f"{name} does not load its weights: {type(error).__name__}: {str(error)[:300]}; mend its code"
        raise UsageError(message) from error
    for module in network.modules():
        counter = module._buffers.get("num_batches_tracked")
        if counter is not None and (counter.is_meta or counter.is_inference()):
            module._buffers["num_batches_tracked"] = torch.zeros_like(counter, device="cpu")
    empty = [key for key, value in (*network.named_parameters(), *network.named_buffers()) if value.is_meta]
    if empty:
        message = f"{name} has tensors without memory that no checkpoint gives ({empty[0]}): make them on the CPU"
        raise UsageError(message)


def meta_shapes(backbone: Backbone, arguments: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Those of the network's tensors; it is made without memory where its code allows that.

    Raises UsageError as `build` does, RuntimeError for sizes that no tensor has.
    """
    try:
        with torch.device("meta"):
            network = backbone.build(**arguments)
    except Exception:  # code that computes with its numbers
        network = build(backbone, arguments)
    return shapes_of(network)


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """By the names of its state dict."""
    tensors = network.state_dict().items()
    return {name: tuple(value.shape) for name, value in tensors if isinstance(value, torch.Tensor)}


def _refuse_lazy(network: nn.Module, name: str) -> None:
    for layer, module in network.named_modules():
        if any(nn.parameter.is_lazy(value) for value in (*module._parameters.values(), *module._buffers.values())):
            message = f"layer {layer!r} of {name} has no size yet ({type(module).__name__}): give it its sizes"
            raise UsageError(message)


def _refuse_hidden(network: nn.Module, name: str) -> None:
    """Layers in a plain list or dict have weights that no state dict names."""
    known = set(map(id, network.modules()))
    for module in network.modules():
        for attribute, value in vars(module).items():
            members = value.values() if isinstance(value, dict) else value
            if attribute.startswith("_") or not isinstance(value, dict | list | tuple):
                continue
            if any(isinstance(member, nn.Module) and id(member) not in known for member in members):
                message = (
                    f"{name} keeps layers in {attribute!r}, a plain {type(value).__name__} of its "
                    f"{type(module).__name__}, where no checkpoint finds them: use nn.ModuleList or nn.ModuleDict"
                )
                raise UsageError(message)


@contextlib.contextmanager
def _kept_settings() -> Iterator[None]:
    """What others' code may set for the whole process."""
    dtype, gradients, threads = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    device = torch.get_default_device()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        torch.set_num_threads(threads)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
