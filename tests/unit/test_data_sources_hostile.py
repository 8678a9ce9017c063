"""As fuzz_sources.py does with many more: mutated files of faces are read or refused, soon and in little memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzz_sources import FORMATS, attempt


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files(tmp_path: Path, name: str) -> None:
    one = FORMATS[name]
    originals = one.originals()
    found = [attempt(one, originals, tmp_path, random.Random(f"test/{number}")) for number in range(200)]
    assert not [outcome for outcome in found if outcome.startswith("HOLE")]
    assert len(set(found)) > 1
