"""An approximate index for a gallery in PostgreSQL: what it costs is said, and it is dropped where that is too much."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from galleries import draw_embeddings
from messages import names
from postgresql import new_place, shared_database, shared_server

from efq.runtime.artifact.folder import Artifact
from efq.runtime.gallery.index_command import main
from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.postgresql import indexing
from efq.runtime.gallery.stores.store import Template


def run(place: str, artifact: Path, *options: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [place, str(artifact), *options])
    return result.exit_code, result.stdout, result.stderr


SEEDS = itertools.count(1_000)


def fill(place: str, artifact: Path, template: Template) -> np.ndarray:
    opened = Artifact.open(artifact)
    seed = next(SEEDS)  # no two galleries of the server hold the same bytes
    rows, labels = draw_embeddings(30, 3, size=opened.manifest.embedding_size, spread=1.0, seed=seed)
    with open_gallery(place, opened, template=template) as store:
        for person in range(30):
            store.enroll(f"p{person}", rows[labels == person])
    return rows


@pytest.mark.parametrize("template", ["best", "mean", "all"])
def test_what_an_index_costs(tiny_artifact: Path, template: Template) -> None:
    place = new_place()
    rows = fill(place, tiny_artifact, template)
    with open_gallery(place, Artifact.open(tiny_artifact)) as store:
        exact = store.search(rows, 3)
    code, stdout, stderr = run(place, tiny_artifact, "--by", "hnsw", "--probes", "60", "--json")
    assert code == 0, stderr
    figures = json.loads(stdout)
    assert figures["probes"] == 60
    assert figures["loss"] == 0
    assert figures["exact_misses"] == figures["index_misses"] < 60
    with open_gallery(place, Artifact.open(tiny_artifact)) as store:
        assert store.search(rows, 3) == exact  # of so few, the index misses none
        store.enroll("late", rows[:1] * -1)
        assert store.search(rows[:1] * -1)[0][0].person == "late"
        assert store.remove("late") == 1
        assert store.remove("p3") == 3
        shared_server().execute("CHECKPOINT")
        content = b"".join(path.read_bytes() for path in (shared_server().data / "base").rglob("*") if path.is_file())
        assert not any(row.tobytes()[8:56] in content for row in rows[9:12])
        assert "p3" not in [match.person for matches in store.search(rows, 3) for match in matches]
    assert run(place, tiny_artifact, "--by", "none")[0] == 0
    schema = place.rpartition("schema=")[2]
    question = f"SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%hnsw' AND schemaname = '{schema}'"
    assert shared_server().execute(question, shared_database()) == [(0,)]


def test_an_index_that_costs_too_much_is_dropped(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_place()
    fill(place, tiny_artifact, "best")
    cost = indexing.IndexCost(probes=100, exact_misses=2, index_misses=5, exact_time=2.0, index_time=1.0)
    monkeypatch.setattr(indexing, "measure_index", lambda *_: cost)  # of so few faces, an index misses none
    code, stdout, stderr = run(place, tiny_artifact, "--by", "hnsw", "--max-loss", "0.02")
    assert code == 3
    names(stdout, "2.00%", "5.00%", "3.00%")
    names(stderr, "2.00%", "3.00%")
    schema = place.rpartition("schema=")[2]
    found = shared_server().execute(f"SELECT count(*) FROM pg_indexes WHERE schemaname = '{schema}'", shared_database())
    with open_gallery(place, Artifact.open(tiny_artifact)) as store:
        assert store.size().people == 30
    assert run(place, tiny_artifact, "--by", "hnsw", "--max-loss", "0.03")[0] == 0
    more = shared_server().execute(f"SELECT count(*) FROM pg_indexes WHERE schemaname = '{schema}'", shared_database())
    assert more[0][0] == found[0][0] + 2


@pytest.mark.parametrize(
    "options", [("--by", "none", "--probes", "5"), ("--by", "hnsw", "--fmr", "1e-3", "--threshold", "0.5"), ()]
)
def test_options_that_do_not_fit(tiny_artifact: Path, options: tuple[str, ...]) -> None:
    place = new_place()
    fill(place, tiny_artifact, "best")
    assert run(place, tiny_artifact, *options)[0] == 2


def test_only_postgresql_has_one(tiny_artifact: Path, tmp_path: Path) -> None:
    code, _, stderr = run(str(tmp_path / "gallery.db"), tiny_artifact, "--by", "hnsw")
    assert code == 2
    names(stderr, "postgresql://")
