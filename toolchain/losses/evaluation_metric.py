"""The evaluation-metric term of distillation: the student is to place pairs among its thresholds as the teacher does.

Idea and constants: Huang, Wu, Xu, Ding, "Evaluation-oriented Knowledge Distillation for Deep Face Recognition",
CVPR 2022 (arXiv 2206.02325). The bank, the exact teacher thresholds and the paired threshold estimate are our own.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from efq.runtime.errors import UsageError
from efq.toolchain.losses.bank import EmbeddingBank
from efq.toolchain.losses.thresholds import threshold_ranks


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationMetricConfig:
    """Constants of the evaluation-metric loss; the defaults are those of the paper but for `momentum` (0.01 there).

    false_positive_rates: where each network's thresholds are set.
    temperature: width of the soft step at a threshold, in units of cosine similarity.
    hardest: how many impostor pairs of a step count, those most similar to the student.
    genuine_weight, impostor_weight: factors of the two terms.
    momentum: share of a new estimate in the student's thresholds, once 1 / momentum steps have been averaged.
    """

    false_positive_rates: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    temperature: float = 0.01
    hardest: int = 2000
    genuine_weight: float = 0.02
    impostor_weight: float = 0.01
    momentum: float = 0.05

    def __post_init__(self) -> None:
        rates = self.false_positive_rates
        if not rates or not all(0.0 < rate < 1.0 for rate in rates):
            message = f"expected false-positive rates between 0 and 1, found {rates}"
            raise UsageError(message)
        if self.temperature <= 0 or self.hardest < 1 or not 0.0 < self.momentum <= 1.0:
            message = f"expected temperature > 0, hardest >= 1 and 0 < momentum <= 1, found {self}"
            raise UsageError(message)


class EvaluationMetricTerms(NamedTuple):
    """`loss` = genuine_weight * genuine + impostor_weight * impostor; the other two, without gradient, for logging."""

    loss: torch.Tensor
    genuine: torch.Tensor
    impostor: torch.Tensor


def soft_rank(similarities: torch.Tensor, thresholds: torch.Tensor, temperature: float) -> torch.Tensor:
    """How many thresholds (T,) each similarity (M,) clears, softly: (M,) in [0, T]."""
    return torch.sigmoid(((similarities[:, None] - thresholds) / temperature).clamp(-50.0, 50.0)).sum(dim=1)


class EvaluationMetricLoss(nn.Module):
    """Squared difference of the student's and the teacher's soft ranks, over pairs of batch x (batch + bank).

    Each network has its own thresholds t_n, the similarities that a share FPR_n of its impostor pairs exceeds, and a
    pair's soft rank is sum_n sigmoid((similarity - t_n) / temperature). Counted are all genuine pairs of
    batch x (batch + bank) and the `hardest` impostor pairs as the student sees them; never an image with itself.

    The teacher's thresholds are exact and fixed (`impostor_thresholds` of all its embeddings). The student's are the
    teacher's plus the running mean, later a moving average, of the difference between both networks' thresholds over
    one step's impostor pairs: measured on the same pairs the difference has little noise, even where a step has no
    more than one pair per threshold, and it is zero for identical embeddings.

    In training mode `forward` updates thresholds and bank; in evaluation mode it changes nothing. The loss only sees
    similarities, which a rotation leaves alone: add it to `cosine_loss`, never use it alone.

    Args:
        bank: of the training set; it is part of this module's state.
        teacher_thresholds: (T,), for `config.false_positive_rates`.
    """

    teacher_thresholds: torch.Tensor
    offsets: torch.Tensor
    steps: torch.Tensor

    def __init__(
        self, bank: EmbeddingBank, teacher_thresholds: torch.Tensor, config: EvaluationMetricConfig | None = None
    ) -> None:
        super().__init__()
        self.config = config or EvaluationMetricConfig()
        if teacher_thresholds.shape != (len(self.config.false_positive_rates),):
            message = (
                f"expected a teacher threshold for each of the {len(self.config.false_positive_rates)} "
                f"false-positive rates, found shape {tuple(teacher_thresholds.shape)}"
            )
            raise UsageError(message)
        self.bank = bank
        self.register_buffer("teacher_thresholds", teacher_thresholds.detach().clone().float())
        self.register_buffer("offsets", torch.zeros_like(self.teacher_thresholds))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=teacher_thresholds.device))

    @property
    def student_thresholds(self) -> torch.Tensor:
        """The student's thresholds as estimated so far, (T,)."""
        return self.teacher_thresholds + self.offsets

    def forward(self, student: torch.Tensor, teacher: torch.Tensor, indices: torch.Tensor) -> EvaluationMetricTerms:
        """Loss of a batch: `student`, `teacher` (B, d) embeddings of the same views, `indices` (B,) in the set.

        The gradient goes to `student` only.
        """
        student = functional.normalize(student.float(), dim=1)
        teacher = functional.normalize(teacher.detach().float(), dim=1)
        genuine, impostor = self._pairs(indices)
        places = (genuine.nonzero(), self._hardest_impostors(student.detach(), teacher, impostor))
        genuine_gap, impostor_gap = (self._rank_gap(student, teacher, pairs) for pairs in places)
        if self.training:
            self.bank.update(indices, student, teacher)
        loss = self.config.genuine_weight * genuine_gap + self.config.impostor_weight * impostor_gap
        return EvaluationMetricTerms(loss, genuine_gap.detach(), impostor_gap.detach())

    def _pairs(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks (B, B + N) of the genuine and the impostor pairs, each pair of images once."""
        labels = self.bank.labels[indices]
        within = (indices[:, None] != indices[None]).triu(1)
        usable = torch.cat([within, self.bank.available(indices).expand(len(indices), -1)], dim=1)
        same = labels[:, None] == torch.cat([labels, self.bank.labels])[None]
        return same & usable, ~same & usable

    @torch.no_grad()
    def _hardest_impostors(self, student: torch.Tensor, teacher: torch.Tensor, impostor: torch.Tensor) -> torch.Tensor:
        """Rows and columns (M, 2) of the student's hardest impostor pairs; updates the offsets when training."""
        count = int(impostor.sum())
        if count == 0:
            return impostor.nonzero()
        ranks = threshold_ranks(self.config.false_positive_rates, count)
        kept = min(max(max(ranks) + 1, self.config.hardest), count)
        values, places = _masked_similarities(student, self.bank.student, impostor).topk(kept)
        if self.training:
            reference = _masked_similarities(teacher, self.bank.teacher, impostor).topk(max(ranks) + 1).values
            self.steps += 1
            share = (1.0 / self.steps).clamp(min=self.config.momentum)
            self.offsets += share * (values[ranks] - reference[ranks] - self.offsets)
        hardest = places[: self.config.hardest]
        return torch.stack([hardest // impostor.shape[1], hardest % impostor.shape[1]], dim=1)

    def _rank_gap(self, student: torch.Tensor, teacher: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """Mean squared difference of soft ranks over pairs (M, 2), a scalar; zero where there is no pair."""
        if len(pairs) == 0:
            return student.sum() * 0.0
        temperature = self.config.temperature
        student_similarities = _pair_similarities(student, self.bank.student, pairs)
        teacher_similarities = _pair_similarities(teacher, self.bank.teacher, pairs)
        student_ranks = soft_rank(student_similarities, self.student_thresholds, temperature)
        teacher_ranks = soft_rank(teacher_similarities, self.teacher_thresholds, temperature)
        return functional.mse_loss(student_ranks, teacher_ranks)


def _masked_similarities(batch: torch.Tensor, bank: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Similarities of batch x (batch + bank), flat (B * (B + N),), with -2 outside the mask."""
    return torch.cat([batch @ batch.T, batch @ bank.T], dim=1).masked_fill_(~mask, -2.0).flatten()


def _pair_similarities(batch: torch.Tensor, bank: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Similarities (M,) of the pairs (row of the batch, column of batch + bank), differentiable in the batch.

    Only the chosen pairs are multiplied again: the backward pass neither holds nor multiplies the whole bank.
    """
    rows, columns = pairs.unbind(dim=1)
    size = len(batch)
    others = torch.where(
        (columns < size)[:, None], batch[columns.clamp(max=size - 1)], bank[(columns - size).clamp(min=0)]
    )
    return (batch[rows] * others).sum(dim=1)
