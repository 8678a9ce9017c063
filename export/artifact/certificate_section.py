"""The part of a model card that says what the certificate says, or that there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from efq.export.artifact.markdown import code, plain, table
from efq.runtime.artifact.folder import CERTIFICATE_FILE
from efq.runtime.artifact.parity import UNCERTIFIED, ParityRecord
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.rates import Estimate

HOW_TO_CERTIFY = "efq-bench DIR --teacher TEACHER --faces HELD_OUT_FACES --certify -o report"


def uncertified_reason(parity: ParityRecord | None) -> str | None:
    """What was given for having no certificate, None where nothing was."""
    check: Mapping[str, Any] = {} if parity is None or parity.export_check is None else parity.export_check
    reason = check.get(UNCERTIFIED)
    return reason if isinstance(reason, str) else None


def certificate_section(certificate: Certificate | None, parity: ParityRecord | None) -> str:
    """Markdown; thresholds are cosines."""
    if certificate is None:
        reason = uncertified_reason(parity)
        said = "Uncertified" if reason is None else f"Uncertified: {plain(reason)}"
        return f"## Certificate\n\n{said}. {code(HOW_TO_CERTIFY)}\n"
    protocol, deployed = certificate.protocol, certificate.deployed
    drop = next(one.drop for one in certificate.drops if one.fmr == protocol.certified_fmr)
    flips = deployed.flips_remapped
    rows = [
        ("faces", f"{plain(protocol.faces)}; {protocol.impostor_pairs:,} impostor pairs"),
        (f"TAR lost to the teacher at FMR {protocol.certified_fmr:g}, points", points(drop)),
        ("teacher's threshold", f"{deployed.threshold:.4f}{'' if deployed.stated else ' (its own at that FMR)'}"),
        ("re-mapped for this artifact", f"{deployed.remapped.threshold:.4f}"),
        ("genuine pairs whose verdict changes, % (re-mapped)", points(flips.genuine)),
    ]
    for one in certificate.galleries[1:]:
        at = [point.fmr for point in one.points].index(protocol.certified_fmr)
        name = f"gallery of the {one.gallery}, probes by the {one.probes}"
        rows.append((f"{name}: TAR lost, points", points(one.drops[at])))
        if one.search is not None:
            rows.append((f"{name}: rank-1 lost, points", points(one.search.rank1_drop)))
    intervals = f"In brackets the {protocol.confidence:.0%} interval over people."
    return (
        f"## Certificate\n\nMeasured on {plain(certificate.measured)}. {intervals}\n\n"
        + table(("measure", "value"), rows)
        + f"\nAll of it is in {code(CERTIFICATE_FILE)}.\n"
    )


def points(estimate: Estimate) -> str:
    """A fraction in points of a hundred, with its interval."""
    value = f"{100 * estimate.value:.2f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({100 * estimate.low:.2f} to {100 * estimate.high:.2f})"
