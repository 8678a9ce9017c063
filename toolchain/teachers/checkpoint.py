"""Teachers in torch checkpoints: the weights of a backbone."""

from __future__ import annotations

from pathlib import Path

from efq.runtime.artifact.contract import InputContract
from efq.runtime.faces.normalization import Normalization
from efq.runtime.lineage.lineage import IN_FILE, PUBLISHED
from efq.runtime.lineage.spdx import UNKNOWN
from efq.runtime.lineage.statement import stated_licence
from efq.toolchain.backbones.checkpoint import open_backbone
from efq.toolchain.backbones.registry import checked_size
from efq.toolchain.checkpoints.weights_file import looks_like_weights
from efq.toolchain.teachers.teacher import Teacher


class CheckpointFormat:
    """A state dict in a file of torch's or of safetensors, of the named backbone or of the registered one that fits."""

    name = "torch checkpoint"

    def recognizes(self, path: Path) -> bool:
        """Whether it begins as torch's files do; one that is damaged further on is a checkpoint still."""
        return looks_like_weights(path)

    def open(self, path: Path, backbone: str | None) -> Teacher:
        """Raises CheckpointError when the weights cannot be read, or fit no backbone."""
        loaded = open_backbone(path, backbone)
        found, network = loaded.backbone, loaded.network
        normalization = Normalization(mean=found.mean, std=found.std)
        own = getattr(network, "input_size", None)
        size = found.size if own is None else checked_size(own, found.name)
        stated = stated_licence(loaded.texts)
        published = None if found.licence == UNKNOWN else PUBLISHED
        return Teacher.of_network(
            network,
            name=found.name,
            normalization=normalization,
            path=path,
            licence=stated or found.licence,
            licence_source=IN_FILE if stated else published,
            provenance=found.provenance,
            contract=None if size is None else InputContract(height=size[0], width=size[1]),
            color_order=found.color_order,
            notes=loaded.notes,
        )
