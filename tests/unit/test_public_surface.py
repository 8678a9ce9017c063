"""What each package offers."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("runtime", "toolchain", "export", "benchmarks")

SURFACE = {
    "runtime": {
        *(
            "Artifact",
            "CheckpointError",
            "ChecksumError",
            "CoverageError",
            "DeviceError",
            "EfqError",
            "Embedder",
            "EngineBuildError",
            "EngineError",
            "GateError",
        ),
        *(
            "IncompatibleArtifactError",
            "InputContract",
            "InputError",
            "Interface",
            "LintError",
            "LoweringError",
            "Manifest",
        ),
        *("MissingDependencyError", "ParityError", "SchemaError", "UnreadableImageError", "UsageError", "align"),
        *(
            "EvaluationRecord",
            "ParityRecord",
            "Probe",
            "ProbeError",
        ),
        *("Aligner", "decode_image", "read_image", "open_gallery"),
        *("Aligner", "decode_image", "read_image"),
        *("RemoteEmbedder", "ServerError"),
    },
    "runtime.arguments": {"flag", "instance_of", "number", "path_of", "text", "whole_number"},
    "runtime.artifact": set(),
    "runtime.backends": set(),
    "runtime.backends.threads": set(),
    "runtime.bulk": set(),
    "runtime.bulk.listing": set(),
    "runtime.bulk.workers": set(),
    "runtime.certificate": set(),
    "runtime.commands": set(),
    "runtime.cuda": set(),
    "runtime.detection": {"Detections", "Detector"},
    "runtime.faces": set(),
    "runtime.faces.formats": set(),
    "runtime.gallery": set(),
    "runtime.gallery.stores": {
        *("GalleryStore", "Match", "Person", "StoreSize", "Template", "Verification", "open_gallery"),
    },
    "runtime.gallery.stores.index": set(),
    "runtime.gallery.stores.sqlite": set(),
    "runtime.gallery.stores.postgresql": {"open_store"},
    "runtime.gallery.stores.qdrant": {"open_store"},
    "runtime.lineage": set(),
    "runtime.litert": set(),
    "runtime.machine": set(),
    "runtime.native": set(),
    "runtime.open_inference": set(),
    "runtime.probe": set(),
    "runtime.service": set(),
    "runtime.service.api": set(),
    "runtime.service.health": set(),
    "runtime.service.limits": set(),
    "runtime.service.page": set(),
    "runtime.service.process": set(),
    "runtime.tensorrt": set(),
    "runtime.tensorrt.build": set(),
    "runtime.tensorrt.run": set(),
    "runtime.writing": set(),
    "toolchain": {
        *("EmbeddingNetwork", "FaceSet", "Licences", "Recipe", "Student", "Teacher", "calibrate_teacher", "distill"),
        *("embed_faces", "evaluate", "load_recipe", "load_student", "open_evaluation_faces", "open_faces"),
        *("open_network", "open_teacher", "save_student"),
    },
    "toolchain.backbones": {
        "Backbone",
        "backbone_names",
        "find_backbone",
        "load_backbone",
        "read_checkpoint",
        "register",
    },
    "toolchain.backbones.networks": set(),
    "toolchain.checkpoints": set(),
    "toolchain.data": {
        *(
            "Augmentation",
            "FaceFormat",
            "FaceSet",
            "FaceSource",
            "IdentityBalancedSampler",
            "augment",
            "draw_images",
            "IdentityLevel",
            "face_paths",
            "open_faces",
            "open_paths",
            "open_source",
        ),
    },
    "toolchain.data.sources": set(),
    "toolchain.data.sources.packed": set(),
    "toolchain.data.sources.recordio": set(),
    "toolchain.data.sources.tars": set(),
    "toolchain.graph": set(),
    "toolchain.graph.from_onnx": {"ImportedNetwork", "compare_with_onnx", "import_onnx"},
    "toolchain.graph.from_onnx.operators": set(),
    "toolchain.graph.from_torch": {"trace"},
    "toolchain.graph.from_torch.exporting": set(),
    "toolchain.graph.from_torch.operators": set(),
    "toolchain.graph.from_torch.rewrites": set(),
    "toolchain.teachers": {"Normalization", "Teacher", "TeacherFormat", "open_teacher"},
    "toolchain.distillation": {"Licences", "calibrate_teacher", "distill", "reuse_freed_memory"},
    "toolchain.evaluation.certificate": set(),
    "toolchain.evaluation.figures": set(),
    "toolchain.evaluation.protocols": set(),
    "toolchain.evaluation.protocols.ijb": set(),
    "toolchain.evaluation.protocols.pair_lists": set(),
    "toolchain.migration": set(),
    "toolchain.evaluation": {
        *("Agreement", "AllPairs", "AllPairsResult", "Estimate", "EvaluationReport", "FarResult", "FoldAccuracy"),
        *("FoldResult", "NetworkSummary", "PairList", "TarAtFar", "all_pairs", "equal_decisions", "fold_accuracy"),
        *("measure_agreement", "measure_all_pairs", "measure_folds", "pair_similarities", "read_pairs", "roc_curve"),
        *("Evaluation", "EvaluationFaces", "EvaluationProtocol", "IndexedPairs", "NetworkEvaluation", "check_unseen"),
        *("decision_far", "embed_faces", "embedding_cosines", "evaluate", "far_name", "open_evaluation_faces"),
        *("ListedPair", "ListedPairs", "PairsFormat", "read_protocol", "tar_at_far", "training_images"),
    },
    "toolchain.losses": {
        *("EmbeddingBank", "EvaluationMetricConfig", "EvaluationMetricLoss", "EvaluationMetricTerms"),
        *("FeatureRecorder", "cosine_loss", "feature_loss", "impostor_thresholds"),
    },
    "toolchain.lowering.activations": set(),
    "toolchain.lowering.quantization": set(),
    "toolchain.lowering": {"LoweringReport", "float_graph", "lower"},
    "toolchain.quantizers": {"ActivationQuantizer", "WeightQuantizer", "set_enabled"},
    "toolchain.recipes": set(),
    "export": {
        *("CoverageReport", "EngineSettings", "Export", "ExportTarget", "export_student", "find_target"),
        *("GraphPass", "QdqTarget", "inspect", "measure_coverage", "rehearse"),
    },
    "export.artifact": set(),
    "export.coverage": set(),
    "export.inspection": set(),
    "export.qdq": set(),
    "export.qdq.passes": set(),
    "export.references": set(),
    "export.serving": set(),
    "export.targets.litert": set(),
    "export.targets.openvino": set(),
    "export.targets.tensorrt": set(),
    "export.targets.tensorrt.lint": {"Finding", "Severity", "check", "lint"},
    "export.targets": {"ExportTarget", "find_target"},
    "export.targets.ort_cpu": set(),
    "benchmarks": {"Bench", "BenchConfig", "Latency", "Machine", "describe_machine", "measure", "run_bench"},
    "benchmarks.certificate": set(),
    "benchmarks.accuracy": set(),
    "benchmarks.demo": set(),
    "benchmarks.drawn_faces": set(),
    "benchmarks.engines": set(),
    "benchmarks.galleries": set(),
    "benchmarks.gpu": set(),
    "benchmarks.pages": set(),
    "benchmarks.report": set(),
    "benchmarks.serving": set(),
    "benchmarks.studies": set(),
    "benchmarks.timing": set(),
    "benchmarks.peers": set(),
}


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def test_every_package_is_pinned_and_packaged() -> None:
    packages = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for layer in LAYERS
        for path in sources(layer)
        if path.name == "__init__.py"
    }
    assert packages == set(SURFACE)
    configuration = (ROOT / "pyproject.toml").read_text()
    assert all(f'"efq.{package}"' in configuration for package in packages)


@pytest.mark.parametrize("package", sorted(SURFACE))
def test_public_names(package: str) -> None:
    module = importlib.import_module(f"efq.{package}")
    names = getattr(module, "__all__", [])
    assert set(names) == SURFACE[package]
    assert len(names) == len(set(names))
    assert all(getattr(module, name) is not None for name in names)
    assert module.__doc__
