"""The fuzzer of pairs, in short: python tests/scripts/fuzz_pairs.py goes on."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest
from counting import MARK
from fuzz_pairs import FORMATS, attempt, folder_of_faces


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_pairs_are_read_or_refused(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    originals, root = FORMATS[name][0](), folder_of_faces(tmp_path)
    found = {attempt(name, originals, root, random.Random(f"0/{number}")) for number in range(400)}
    assert "pairs read" in found
    assert not any(one.startswith("HOLE") for one in found)
    assert MARK not in os.environ
