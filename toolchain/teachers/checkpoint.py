"""Teachers in torch checkpoints: the weights of a backbone."""

from __future__ import annotations

from pathlib import Path

from efq.runtime.artifact.contract import InputContract
from efq.runtime.faces.normalization import Normalization
from efq.runtime.lineage.lineage import PUBLISHED
from efq.runtime.lineage.spdx import UNKNOWN
from efq.toolchain.backbones import load_backbone
from efq.toolchain.backbones.registry import checked_size
from efq.toolchain.backbones.torch_file import looks_like_torch_file
from efq.toolchain.teachers.teacher import Teacher


class CheckpointFormat:
    """A state dict written by torch.save, of the named backbone or of the registered one that fits."""

    name = "torch checkpoint"

    def recognizes(self, path: Path) -> bool:
        """Whether it begins as torch's files do; one that is damaged further on is a checkpoint still."""
        return looks_like_torch_file(path)

    def open(self, path: Path, backbone: str | None) -> Teacher:
        """Raises CheckpointError when the weights cannot be read, or fit no backbone."""
        found, network = load_backbone(path, backbone)
        normalization = Normalization(mean=found.mean, std=found.std)
        own = getattr(network, "input_size", None)
        size = found.size if own is None else checked_size(own, found.name)
        return Teacher.of_network(
            network,
            name=found.name,
            normalization=normalization,
            path=path,
            licence=found.licence,
            licence_source=None if found.licence == UNKNOWN else PUBLISHED,
            provenance=found.provenance,
            contract=None if size is None else InputContract(height=size[0], width=size[1]),
        )
