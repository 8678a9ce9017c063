"""Networks of timm and torchvision with an embedding of 512 numbers, each as the factory `--backbone` takes.

`efq.benchmarks.studies.library_networks:timm_resnet18` is what a user would write as a function of one line:
`timm.create_model("resnet18", num_classes=512)`.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

EMBEDDING_SIZE = 512
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Factory:
    """Makes `name` of the package `library`, untrained; its attributes say its input, as those of a function would."""

    input_mean, input_std = MEAN, STD

    def __init__(self, library: str, name: str) -> None:
        self.library, self.name = library, name
        self.input_size = (224, 224) if name.endswith("_224") else (112, 112)

    def __call__(self) -> nn.Module:
        if self.library == "timm":
            made: nn.Module = importlib.import_module("timm").create_model(self.name, num_classes=EMBEDDING_SIZE)
            return made
        models: Any = importlib.import_module("torchvision.models")
        options = {"aux_logits": False, "init_weights": False} if self.name == "googlenet" else {}
        network: nn.Module = models.get_model(self.name, weights=None, num_classes=EMBEDDING_SIZE, **options)
        return network


def __getattr__(name: str) -> Factory:
    library, _, network = name.partition("_")
    if library not in ("timm", "torchvision") or not network:
        raise AttributeError(name)
    return Factory(library, network)
