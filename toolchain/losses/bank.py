"""A bank of the latest embeddings of every training image."""

from __future__ import annotations

import torch
from torch import nn


class EmbeddingBank(nn.Module):
    """The last student and teacher embeddings of each image of a training set, by its index in the set.

    A batch of 64 images has 2,016 pairs, too few for thresholds at false-positive rates under 1e-3; against a bank of
    N images it has 64 N. Both embeddings of a row are of the same view (augmentation) of the image, as they were when
    it was last in a batch. Rows start empty; 14,000 x 512 takes 57 MB.

    Args:
        labels: (N,) int64, the identity of each image; given again when a state is loaded, hence not part of it.
        embedding_size: d.
    """

    labels: torch.Tensor
    student: torch.Tensor
    teacher: torch.Tensor
    filled: torch.Tensor

    def __init__(self, labels: torch.Tensor, embedding_size: int) -> None:
        super().__init__()
        self.register_buffer("labels", labels.detach().clone().long(), persistent=False)
        self.register_buffer("student", torch.zeros(len(labels), embedding_size, device=labels.device))
        self.register_buffer("teacher", torch.zeros(len(labels), embedding_size, device=labels.device))
        self.register_buffer("filled", torch.zeros(len(labels), dtype=torch.bool, device=labels.device))

    @torch.no_grad()
    def update(self, indices: torch.Tensor, student: torch.Tensor, teacher: torch.Tensor) -> None:
        """Store unit-length (B, d) embeddings of the images `indices` (B,)."""
        self.student[indices] = student.detach().to(self.student.dtype)
        self.teacher[indices] = teacher.detach().to(self.teacher.dtype)
        self.filled[indices] = True

    def available(self, indices: torch.Tensor) -> torch.Tensor:
        """Which rows a batch of the images `indices` can be paired with, (N,) bool: filled, and not in the batch.

        So no image is ever paired with its own past, and no pair of images is counted twice.
        """
        usable = self.filled.clone()
        usable[indices] = False
        return usable
