"""Evaluation of embeddings: TAR@FAR over all pairs, k-fold accuracy, bootstrap intervals, agreement of two networks."""

from __future__ import annotations

from efq.toolchain.evaluation.far import AllPairs, TarAtFar, all_pairs, equal_decisions, roc_curve, tar_at_far
from efq.toolchain.evaluation.measure import measure_agreement, measure_all_pairs, measure_folds
from efq.toolchain.evaluation.pairs import PairList, read_pairs
from efq.toolchain.evaluation.report import (
    Agreement,
    AllPairsResult,
    Estimate,
    EvaluationReport,
    FarResult,
    FoldResult,
    NetworkSummary,
)
from efq.toolchain.evaluation.verification import FoldAccuracy, fold_accuracy, pair_similarities

__all__ = [
    "Agreement",
    "AllPairs",
    "AllPairsResult",
    "Estimate",
    "EvaluationReport",
    "FarResult",
    "FoldAccuracy",
    "FoldResult",
    "NetworkSummary",
    "PairList",
    "TarAtFar",
    "all_pairs",
    "equal_decisions",
    "fold_accuracy",
    "measure_agreement",
    "measure_all_pairs",
    "measure_folds",
    "pair_similarities",
    "read_pairs",
    "roc_curve",
    "tar_at_far",
]
