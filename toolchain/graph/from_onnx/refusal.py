"""What a part of the importer raises for something in an ONNX file that has no torch form."""

from __future__ import annotations

from typing import NoReturn


class OnnxRefusalError(ValueError):
    """`reason` says what was found, `advice` what to do; the walk adds the node and the path."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; {advice}" if advice else reason)
        self.reason, self.advice = reason, advice


def refuse(reason: str, advice: str) -> NoReturn:
    """Raises OnnxRefusalError."""
    raise OnnxRefusalError(reason, advice)
