"""Faces for training and evaluation: reading, sampling, augmenting."""

from __future__ import annotations

from efq.toolchain.data.augmentation import Augmentation, augment
from efq.toolchain.data.faces import FaceSet, draw_images, face_paths, open_faces, open_paths
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.data.sampler import IdentityBalancedSampler
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceFormat, FaceSource

__all__ = [
    "Augmentation",
    "FaceFormat",
    "FaceSet",
    "FaceSource",
    "IdentityBalancedSampler",
    "IdentityLevel",
    "augment",
    "draw_images",
    "face_paths",
    "open_faces",
    "open_paths",
    "open_source",
]
