"""What efq-inspect says of an artifact's certificate."""

from __future__ import annotations

from typing import Any

from efq.export.artifact.certificate_section import uncertified_reason
from efq.runtime.artifact.folder import Artifact
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.rates import Estimate


def inspect_certificate(artifact: Artifact) -> dict[str, Any]:
    """Plain values: the figures that decide whether to deploy it, or why there are none.

    Shares and differences are fractions, each with its interval (value, low, high). Raises SchemaError for a
    certificate that does not fit, or that is another artifact's.
    """
    found = artifact.certificate()
    if found is None:
        reason = uncertified_reason(artifact.parity())
        return {"certified": False, "reason": reason or "not measured: run efq-bench --certify on it"}
    return {"certified": True} | _summary(found)


def _summary(found: Certificate) -> dict[str, Any]:
    fmr, deployed = found.protocol.certified_fmr, found.deployed
    at = [point.fmr for point in found.student.points].index(fmr)
    return {
        "measured": found.measured,
        "faces": found.protocol.faces,
        "faces_sha256": found.protocol.faces_sha256,
        "backend": found.binding.backend,
        "machine_class": found.binding.machine_class,
        "cosine_mean": found.cosine.mean,
        "cosine_least": found.cosine.least,
        "certified_fmr": fmr,
        "thresholds": {f"{point.fmr:g}": point.threshold for point in found.student.points},
        "fnmr": _plain(found.student.points[at].fnmr),
        "fnmr_of_teacher": _plain(found.teacher.points[at].fnmr),
        "tar_drop": _plain(found.drops[at].drop),
        "deployed_threshold": deployed.threshold,
        "remapped_threshold": deployed.remapped.threshold,
        "flips_of_genuine_pairs": _plain(deployed.flips_remapped.genuine),
        "galleries": [
            {
                "gallery": one.gallery,
                "probes": one.probes,
                "tar_drop": _plain(one.drops[at]),
                "rank1_drop": None if one.search is None else _plain(one.search.rank1_drop),
                "remapped_threshold": one.remapped.threshold,
            }
            for one in found.galleries[1:]
        ],
        "cohorts": None if found.cohorts is None else [cohort.name for cohort in found.cohorts.cohorts],
        "gates": [
            {"name": gate.name, "limit": gate.limit, "found": gate.found, "passed": gate.passed} for gate in found.gates
        ],
    }


def _plain(estimate: Estimate) -> list[float | None]:
    return [estimate.value, estimate.low, estimate.high]
