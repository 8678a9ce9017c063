"""Real plans, by TensorRT or TensorRT-RTX: the mean color of an image as its embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.tensorrt.run.logger import process_logger

SHAPE = (8, 8, 3)


def build_mean_plan(module: Any, limits: tuple[int, int, int] = (1, 4, 16)) -> bytes:
    builder = module.Builder(process_logger(module)[0])
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    images = network.add_input("images", module.DataType.UINT8, (-1, *SHAPE))
    pixels = network.add_cast(images, module.DataType.FLOAT).get_output(0)
    mean = network.add_reduce(pixels, module.ReduceOperation.AVG, 0b0110, keep_dims=False).get_output(0)
    mean.name = "embeddings"
    network.mark_output(mean)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("images", *((size, *SHAPE) for size in limits))
    config.add_optimization_profile(profile)
    return bytes(builder.build_serialized_network(network, config))


def mean_color(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The reference: (N, 3)."""
    return np.asarray(images.astype(np.float64).mean(axis=(1, 2)))
