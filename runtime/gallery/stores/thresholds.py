"""The cosine above which two faces are taken for one person's, for a false match rate (FMR) that is asked for."""

from __future__ import annotations

import dataclasses
from typing import Self

from efq.runtime.arguments import number
from efq.runtime.artifact.folder import Artifact
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FmrThresholds:
    """What a certificate says of one model: pairs of an FMR, a fraction, and its threshold, from the highest FMR on.

    Empty where nothing was certified.
    """

    points: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Of the artifact's certificate; empty where there is none. Raises SchemaError for one that is damaged."""
        certificate = artifact.certificate()
        return cls() if certificate is None else cls(points=_points(certificate))

    def at(self, fmr: float) -> float:
        """The threshold at which the FMR is at most `fmr`: that of the next lower FMR that was measured.

        Raises UsageError where none so low was certified.
        """
        expected = "an FMR between 0 and 1, such as 1e-4"
        fmr = number(fmr, expected, least=0, most=1)
        if fmr in (0, 1):
            message = f"expected {expected}, found {fmr}"
            raise UsageError(message)
        for measured, threshold in self.points:
            if measured <= fmr * (1 + 1e-9):
                return threshold
        known = ", ".join(f"{measured:g}" for measured, _ in self.points) or "none"
        message = (
            f"expected an FMR that the artifact's certificate has a threshold for, found {fmr:g} (certified: {known}); "
            "certify it on more faces (efq-bench --certify), or give the threshold itself"
        )
        raise UsageError(message)


def _points(certificate: Certificate) -> tuple[tuple[float, float], ...]:
    points = {point.fmr: point.threshold for point in certificate.student.points if point.enough_impostors}
    return tuple(sorted(points.items(), reverse=True))
