"""Distillation on another device than the CPU, as far as that can be told without one.

FakeTensorMode makes CUDA tensors without values and refuses operations on tensors of two devices, as CUDA would; meta
tensors have gradients as well, and no value that the host could wait for.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import raises_naming
from networks import NETWORKS, make_faces, make_student, make_teacher, random_rows, randomize
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from efq.runtime.errors import DeviceError, UsageError
from efq.toolchain.distillation import distill
from efq.toolchain.distillation.muon import Muon
from efq.toolchain.distillation.trainer import Trainer
from efq.toolchain.losses import FeatureRecorder, cosine_loss, feature_loss
from efq.toolchain.networks import torch_device, torch_embedding
from efq.toolchain.quantizers.arithmetic import _FakeQuantizeTensor, _FakeQuantizeTensorOnGpu
from efq.toolchain.recipes.recipe import Recipe

FORMS: dict[str, dict[str, Any]] = {
    "unsigned": {},
    "symmetric": {"symmetric_activations": True},
    "relu": {"activation": "relu"},
    "leaky": {"activation": "leaky"},
}
CASES = [(name, form) for name in NETWORKS for form in FORMS]
# A torch without CUDA cannot index a CUDA tensor, fake or not, which Crop and ChannelAffine do.
WITHOUT_INDEXING = [case for case in CASES if "pooling" not in case and "unsigned" not in case]


def student(name: str, form: str) -> fx.GraphModule:
    return make_student(randomize(NETWORKS[name]()), **FORMS[form]).network.train()


def replace_by_fake_cuda(network: nn.Module, *, but: str = "") -> None:
    """Every parameter and buffer becomes a CUDA tensor without values; those of the module `but`, one of the CPU."""
    for path, module in network.named_modules():
        device = "cpu" if but and path == but else "cuda"
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None:
                    moved = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
                    tensors[name] = nn.Parameter(moved, False) if isinstance(value, nn.Parameter) else moved


@pytest.mark.parametrize(("name", "form"), WITHOUT_INDEXING)
def test_a_student_on_a_gpu_touches_no_tensor_of_the_cpu(name: str, form: str) -> None:
    network = student(name, form)
    with FakeTensorMode(), torch.no_grad():
        replace_by_fake_cuda(network)
        images = torch.empty(4, 28, 28, 3, dtype=torch.uint8, device="cuda")
        embeddings = functional.normalize(network(images).float(), dim=1)
        assert embeddings.device.type == "cuda"
        assert cosine_loss(embeddings, torch.empty_like(embeddings)).device.type == "cuda"


def test_a_tensor_left_on_the_cpu_would_be_found() -> None:
    network = student("bottleneck", "symmetric")
    with FakeTensorMode(), torch.no_grad():
        replace_by_fake_cuda(network, but="fc")
        with pytest.raises(RuntimeError, match="devices"):
            network(torch.empty(4, 28, 28, 3, dtype=torch.uint8, device="cuda"))


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_step_waits_for_no_value_of_the_device(name: str, form: str) -> None:
    """A meta tensor has none: reading one to the host is an error."""
    network = student(name, form)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network, teacher = network.to("meta"), copy.deepcopy(network).to("meta")
    recorders = FeatureRecorder(network), FeatureRecorder(teacher)
    images = torch.empty(4, 28, 28, 3, dtype=torch.uint8, device="meta")
    embeddings = functional.normalize(network(images).float(), dim=1)
    with torch.no_grad():
        wanted = functional.normalize(teacher(images).float(), dim=1)
    loss = cosine_loss(embeddings, wanted) + feature_loss(*(recorder.features for recorder in recorders))
    torch.autograd.backward(loss)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in parameters)
    torch.nn.utils.clip_grad_norm_(parameters, 5.0, foreach=False)
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    Muon([{"params": matrices, "lr": 0.1, "weight_decay": 0.01}], lr=0.1).step()
    assert before.keys() == network.state_dict().keys()


@pytest.mark.parametrize(("bits", "zero_point"), [(8, 0.0), (8, 17.0), (8, -40.4), (4, 2.0), (2, 0.0)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_fake_quantizers_are_one_function(bits: int, zero_point: float, layout: torch.memory_format) -> None:
    """The form for GPUs on CPU tensors: bit for bit the same integers and gradients of the values."""
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    values, weight = (random_rows(3, 4, 5, 6, seed=seed).contiguous(memory_format=layout) for seed in (0, 1))
    found: list[list[Tensor]] = []
    for function in (_FakeQuantizeTensor, _FakeQuantizeTensorOnGpu):
        inputs = [values.clone(), torch.tensor(1.3 / highest), torch.tensor(zero_point)]
        for tensor in inputs:
            tensor.requires_grad_()
        result = function.apply(*inputs, lowest, highest)  # type: ignore[no-untyped-call]
        torch.autograd.backward((result * weight).sum())
        found.append([result.detach(), *(tensor.grad for tensor in inputs if tensor.grad is not None)])
    first, second = found
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert first[0].stride() == second[0].stride()
    torch.testing.assert_close(first[2:], second[2:])
    assert len(first) == 4


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_device("cpu") == torch.device("cpu")
    for name in ("tpu", "cuda", "cuda:0") if not torch.cuda.is_available() else ("tpu",):
        with raises_naming(DeviceError, repr(name), "cpu"):
            torch_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device("cuda:1") == torch.device("cuda", 1)
    assert torch_device("cuda") == torch.device("cuda", 0)
    with raises_naming(DeviceError, "cuda:0", "cuda:1", "cuda:2"):
        torch_device("cuda:2")
    with raises_naming(UsageError, "cuda:N", "cuda:first"):
        torch_device("cuda:first")


def test_embeddings_are_computed_without_tf32() -> None:
    cudnn: Any = torch.backends.cudnn
    before = cudnn.conv.fp32_precision

    class Network(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert cudnn.conv.fp32_precision == "ieee"
            return images.float().mean((1, 2))

    images = make_faces().images[:2]
    assert torch_embedding(Network(), torch.device("cpu"))(images).shape == (2, 3)
    assert cudnn.conv.fp32_precision == before != "ieee"


def test_a_gpu_without_memory_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(trainer: Trainer) -> dict[str, float]:
        message = "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines"
        raise torch.OutOfMemoryError(message)

    monkeypatch.setattr(Trainer, "_train_step", fail)
    recipe = Recipe(name="tiny", activation="prelu", steps=2, identities_per_batch=4)
    said = "CUDA out of memory. Tried to allocate 2.00 GiB."
    with raises_naming(DeviceError, "8 images", said, "identities_per_batch") as caught:
        distill(make_teacher(tmp_path / "teacher.pt"), make_faces(), recipe, tmp_path / "student.pt")
    assert "more lines" not in str(caught.value)
