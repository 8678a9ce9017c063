"""Losses of distillation: the embedding term and the evaluation-metric term."""

from __future__ import annotations

from efq.toolchain.losses.bank import EmbeddingBank
from efq.toolchain.losses.embedding import cosine_loss
from efq.toolchain.losses.evaluation_metric import (
    EvaluationMetricConfig,
    EvaluationMetricLoss,
    EvaluationMetricTerms,
)
from efq.toolchain.losses.feature import FeatureRecorder, feature_loss
from efq.toolchain.losses.thresholds import impostor_thresholds

__all__ = [
    "EmbeddingBank",
    "EvaluationMetricConfig",
    "EvaluationMetricLoss",
    "EvaluationMetricTerms",
    "FeatureRecorder",
    "cosine_loss",
    "feature_loss",
    "impostor_thresholds",
]
