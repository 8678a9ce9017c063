"""What callers in Python give: of the type and in the range that is taken, or a UsageError that says what is."""

from __future__ import annotations

from efq.runtime.arguments.kinds import flag, instance_of, text
from efq.runtime.arguments.numbers import number, whole_number
from efq.runtime.arguments.paths import path_of

__all__ = ["flag", "instance_of", "number", "path_of", "text", "whole_number"]
