"""How low a rate so many trials can show: the rules of 3 and of 30 (ISO/IEC 19795-1, annex B; Doddington et al., 2000).

Both are for independent trials. Pairs that share a person are not, so they are the least that is needed.
"""

from __future__ import annotations

import math

ENOUGH_ERRORS = 30


def rule_of_three(trials: int) -> float:
    """The upper 95 % bound of an error rate of which no error was seen in `trials`: 3 / trials."""
    return min(3.0 / trials, 1.0) if trials else 1.0


def rule_of_thirty(rate: float) -> int:
    """How many trials show an error rate to +-30 % of itself with 90 % confidence: those in which 30 errors come."""
    return math.ceil(ENOUGH_ERRORS / rate - 1e-6)


def enough_errors(errors: float) -> bool:
    """Whether a rate of so many errors is worth giving as a number, by the rule of 30."""
    return errors >= ENOUGH_ERRORS - 1e-6
