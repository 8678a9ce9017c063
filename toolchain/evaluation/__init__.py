"""Evaluation of embeddings: TAR@FAR over all pairs, k-fold accuracy, bootstrap intervals, agreement of two networks."""

from __future__ import annotations

from efq.toolchain.evaluation.comparison import Evaluation, NetworkEvaluation, evaluate
from efq.toolchain.evaluation.embed import embed_faces
from efq.toolchain.evaluation.figures.far import AllPairs, TarAtFar, all_pairs, equal_decisions, roc_curve, tar_at_far
from efq.toolchain.evaluation.figures.rates import decision_far, far_name
from efq.toolchain.evaluation.figures.verification import FoldAccuracy, fold_accuracy, pair_similarities
from efq.toolchain.evaluation.measure import embedding_cosines, measure_agreement, measure_all_pairs, measure_folds
from efq.toolchain.evaluation.protocols.faces import (
    EvaluationFaces,
    EvaluationProtocol,
    IndexedPairs,
    open_evaluation_faces,
    read_protocol,
)
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair, ListedPairs, PairsFormat
from efq.toolchain.evaluation.protocols.pairs import PairList, read_pairs
from efq.toolchain.evaluation.protocols.unseen import check_unseen, training_images
from efq.toolchain.evaluation.report import (
    Agreement,
    AllPairsResult,
    Estimate,
    EvaluationReport,
    FarResult,
    FoldResult,
    NetworkSummary,
)

__all__ = [
    "Agreement",
    "AllPairs",
    "AllPairsResult",
    "Estimate",
    "Evaluation",
    "EvaluationFaces",
    "EvaluationProtocol",
    "EvaluationReport",
    "FarResult",
    "FoldAccuracy",
    "FoldResult",
    "IndexedPairs",
    "ListedPair",
    "ListedPairs",
    "NetworkEvaluation",
    "NetworkSummary",
    "PairList",
    "PairsFormat",
    "TarAtFar",
    "all_pairs",
    "check_unseen",
    "decision_far",
    "embed_faces",
    "embedding_cosines",
    "equal_decisions",
    "evaluate",
    "far_name",
    "fold_accuracy",
    "measure_agreement",
    "measure_all_pairs",
    "measure_folds",
    "open_evaluation_faces",
    "pair_similarities",
    "read_pairs",
    "read_protocol",
    "roc_curve",
    "tar_at_far",
    "training_images",
]
