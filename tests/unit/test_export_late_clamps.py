"""One clamp behind an exact PReLU gives the integers of two in front of it, and is not taken with other readers."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from networks import NETWORKS, conv_block, linear_block, make_student, random_images, randomize
from torch import Tensor, fx, nn

from efq.export.qdq.passes.clamp_narrow_grids import clamp_narrow_grids
from efq.export.qdq.passes.late_clamps import late_clamps
from efq.export.references.integer import IntegerReference
from efq.export.targets import find_target
from efq.toolchain.graph.traversal import share_modules
from efq.toolchain.networks import torch_embedding
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

IMAGES = random_images(5, seed=2).numpy()


class AroundPRelu(nn.Module):
    """The input of the PReLU is added to its output."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(conv_block(3, 8, 3, 2), linear_block(8, 8, 1))
        self.prelu = nn.PReLU(8)
        self.after = nn.Sequential(conv_block(8, 8, 3, 2), nn.Flatten(), nn.Linear(8 * 7 * 7, 16))

    def forward(self, images: Tensor) -> Tensor:
        values = self.before(images)
        embeddings: Tensor = self.after(self.prelu(values) + values)
        return embeddings


def saturating(network: nn.Module) -> Student:
    """A student of 5 bits whose ranges are far too small, so that every grid's top is reached."""
    student = make_student(randomize(network, slopes=(-0.3, 0.1, 0.8)), activation_bits=5)
    with torch.no_grad():
        for module in student.network.modules():
            if isinstance(module, ActivationQuantizer):
                module.log_scale.sub_(1.5)
    return student


def clamped(student: Student) -> fx.GraphModule:
    network = share_modules(student.network)
    clamp_narrow_grids(network, student.contract)
    return network


@pytest.mark.parametrize(("network", "late", "own"), [(NETWORKS["bottleneck"], None, 0), (AroundPRelu, 2, 1)])
def test_embeddings_are_those_of_the_reference(network: type[nn.Module], late: int | None, own: int) -> None:
    student = saturating(network())
    model = find_target("ort-cpu").write(student)
    producers = {name: node for node in model.graph.node for name in node.output}
    readers = {name: node for node in model.graph.node for name in node.input}
    maxima = [node for node in model.graph.node if node.op_type == "Max"]
    clamped_before = [node for node in maxima if producers[node.input[0]].op_type == "Min"]
    clamped_behind = [node for node in maxima if readers[node.output[0]].op_type == "Min"]
    assert len(maxima) == len(clamped_before) + len(clamped_behind)
    assert len(clamped_before) == own
    assert len(clamped_behind) == (late or len(maxima))
    assert late_clamps(clamped(student), student.contract).changed == len(clamped_behind)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["embeddings"], {"images": IMAGES})[0]
    wanted = torch_embedding(IntegerReference(student), torch.device("cpu"))(IMAGES)
    assert float((found * wanted).sum(1).min()) >= 0.999999
    assert len(np.unique(found.round(4), axis=0)) == len(IMAGES)


def test_eight_bits_need_no_clamp() -> None:
    model = find_target("ort-cpu").write(make_student(randomize(NETWORKS["bottleneck"]())))
    assert not [node for node in model.graph.node if node.op_type == "Min"]
