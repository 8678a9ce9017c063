"""Target profiles: one for each runtime a student is exported to."""

from __future__ import annotations

from efq.export.targets.profile import TARGETS, TargetProfile, find_target

__all__ = ["TARGETS", "TargetProfile", "find_target"]
