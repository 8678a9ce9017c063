"""Faces in photos: a detector file's network, what it found, and the five landmarks that alignment needs."""

from __future__ import annotations

from efq.runtime.detection.detections import Detections
from efq.runtime.detection.detector import Detector

__all__ = ["Detections", "Detector"]
