"""The networks of a benchmark: the float teacher, artifacts, and what other tools make of the same teacher."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers import artifact
from efq.benchmarks.peers.float_teacher import FloatTeacher
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import Candidate, PeerTool
from efq.runtime import Embedder, Manifest
from efq.runtime.artifact.manifest import REDUCED_RANGE
from efq.runtime.errors import UsageError
from efq.runtime.targets import find_target, targets

_logger = logging.getLogger(__name__)


def artifact_candidates(directory: Path, manifest: Manifest, *, name: str) -> list[Candidate]:
    """An artifact in the runtime it was exported for and, where another one serves it here, in that too.

    Which one serves it is asked for one thread. It is verified again each time it is opened.
    """
    own = find_target(manifest.target).backends[0]
    with Embedder.open(directory, threads=1) as embedder:
        serving = embedder.backend
    found = [_artifact_candidate(directory, manifest, name=name, backend=own)]
    if serving != own:
        named = f"{name}, served by {serving}"
        found.append(_artifact_candidate(directory, manifest, name=named, backend=serving))
    return found


def _artifact_candidate(directory: Path, manifest: Manifest, *, name: str, backend: str) -> Candidate:
    bits = f"W{manifest.bits['weights']}A{manifest.bits['activations']}"
    counted = manifest.coverage.get("multiply_adds")
    if manifest.bits["weights"] < 7 or manifest.bits["activations"] < 8:
        bits += " (multiplied as 8 bits: size, not speed)"
    return Candidate(
        spec=PeerSpec(name=name, kind=artifact.TOOL.name, path=str(directory), backend=backend),
        opener=artifact.TOOL,
        description=f"EFQ artifact, {bits}, target {manifest.target}, in {backend}",
        is_artifact=True,
        multiply_adds=counted["total"] if isinstance(counted, dict) else None,
        student=student_of(manifest),
    )


def student_of(manifest: Manifest) -> str:
    """A hash of what a student's artifacts have in common however exported: teacher, data, recipe with its training."""
    recipe = {key: value for key, value in manifest.recipe.items() if key not in ("requantized", REDUCED_RANGE)}
    facts = {"recipe": recipe, "teacher": dict(manifest.teacher), "data": dict(manifest.data)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_cpu_targets(directories: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """Raises UsageError for an artifact whose target is not for CPUs."""
    known = targets()
    for_cpus = [name for name, target in known.items() if target.devices[0] == "cpu"]
    alone = all(manifest.target not in for_cpus for manifest in manifests)
    for directory, manifest in zip(directories, manifests, strict=True):
        if manifest.target in for_cpus:
            continue
        remedy = f"{'add' if alone else 'measure it in a run of its own with'} --target {manifest.target}"
        message = (
            f"expected artifacts for the CPU (target {' or '.join(for_cpus)}), found {directory} for the target "
            f"{manifest.target}; {remedy if manifest.target in known else 'update efq'}"
        )
        raise UsageError(message)


def artifact_names(directories: Sequence[Path], manifests: Sequence[Manifest]) -> list[str]:
    """A distinct name for each artifact: the manifest's, or the folder's path where two are the same."""
    names = [manifest.name for manifest in manifests]
    return [
        name if names.count(name) == 1 else str(directory) for name, directory in zip(names, directories, strict=True)
    ]


def peer_candidates(
    tools: Sequence[PeerTool], teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path
) -> list[Candidate]:
    """What the tools make of the teacher after calibration on uint8 faces (N, H, W, 3); files go into `folder`.

    Raises MissingDependencyError for a tool whose packages are missing, before anything is computed.
    """
    for tool in tools:
        tool.require()
    found: list[Candidate] = []
    for tool in tools:
        own = folder / tool.name
        own.mkdir()
        found += tool.candidates(teacher, calibration, own)
    return found


def usable(candidates: Sequence[Candidate], threads: int, face: NDArray[np.uint8]) -> tuple[list[Candidate], list[str]]:
    """The candidates that embed `face` uint8 (1, H, W, 3), and a note on each of those that cannot, with the reason.

    Artifacts and the teacher have to: what they raise is raised.
    """
    kept, notes = [], []
    for candidate in candidates:
        required = candidate is candidates[0] or candidate.is_artifact
        try:
            _try(candidate, threads, face)
        except Exception as error:  # each tool has exceptions of its own; its reason belongs in the report
            if required:
                raise
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            notes.append(f"{candidate.name} could not be run: {lines[0] if lines else type(error).__name__}")
            _logger.info(notes[-1])
        else:
            kept.append(candidate)
    return kept, notes


def _try(candidate: Candidate, threads: int, face: NDArray[np.uint8]) -> None:
    peer = candidate.open(threads)
    try:
        peer.run(peer.prepare(face))
    finally:
        peer.close()
