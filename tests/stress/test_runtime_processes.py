"""An Embedder in other people's processes: forked servers, pools of processes, no home, a quota of CPU time."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_artifact, make_manifest, make_model, random_faces
from messages import raises_naming
from processes import problem_of

from efq.runtime import ChecksumError, Embedder, UsageError
from efq.runtime.machine.quota import cpu_quota

FACES = random_faces(9)
VERSION_1 = {"cpu,cpuacct/x/cpu.cfs_period_us": "100000"}

CLOSED = """
import multiprocessing, sys
import numpy as np
from efq.runtime import ChecksumError, Embedder, UsageError

faces = np.load(sys.argv[2])
embedder = Embedder.open(sys.argv[1], threads=2, backend="onnxruntime")
embedder.close()


def is_refused(number):
    try:
        embedder.embed(faces)
    except UsageError:
        return True
    return False


with multiprocessing.get_context("fork").Pool(1) as pool:
    print(all(pool.map(is_refused, range(2))))
"""
SCENARIOS = {
    "onnxruntime": (
        "preloaded_and_closed_in_the_parent",
        "forked_twice_into_another_folder",
        "forked_by_a_c_program",
        "forked_by_a_thread_while_others_embed",
        "forked_while_others_open",
        "copies",
        "signals_that_raise",
        "handlers_that_close",
        "closed_by_its_user",
        "never_closed",
        "used_when_the_interpreter_ends",
        "daemons_embed_when_the_interpreter_ends",
    ),
    "openvino": (
        "preloaded_after_another_was_closed",
        "opened_by_workers_after_the_parent_closed",
        "closed_by_its_user",
        "daemons_embed_when_the_interpreter_ends",
    ),
    "auto": ("forked_while_it_opens_for_the_first_time",),
}
"""Of those in processes.py, which says how to run them all."""


@pytest.mark.parametrize(("backend", "scenario"), [(name, each) for name, some in SCENARIOS.items() for each in some])
def test_programs(tiny_artifact: Path, backend: str, scenario: str) -> None:
    if backend != "auto":
        pytest.importorskip(backend)
    assert problem_of(scenario, tiny_artifact, backend) is None


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    np.save(tmp_path / "faces.npy", FACES)
    return tmp_path / "faces.npy"


def run(tmp_path: Path, code: str, *arguments: object, **environment: str) -> list[str]:
    script = tmp_path / "server.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_pickled_one_is_its_folder_and_options(tiny_artifact: Path) -> None:
    with Embedder.open(tiny_artifact, threads=2, backend="onnxruntime") as embedder:
        content = pickle.dumps(embedder)
        assert len(content) < 1000
        with pickle.loads(content) as again:
            np.testing.assert_array_equal(again.embed(FACES), embedder.embed(FACES))
            assert again.backend == embedder.backend


def test_one_that_was_sent_is_the_same_model(tmp_path: Path) -> None:
    """Not what took its place meanwhile."""
    artifact = make_artifact(tmp_path / "artifact")
    with Embedder.open(artifact, threads=1, backend="onnxruntime") as embedder:
        content = pickle.dumps(embedder)
    model = make_model(make_manifest())
    model.graph.initializer[0].float_data[:] = []
    model.graph.initializer[0].raw_data = np.float32(1 / 128).tobytes()
    make_artifact(artifact, model=model)
    with raises_naming(ChecksumError, artifact):
        pickle.loads(content)


def test_a_closed_one_stays_closed_in_the_child_of_a_fork(tiny_artifact: Path, faces: Path, tmp_path: Path) -> None:
    assert run(tmp_path, CLOSED, tiny_artifact, faces) == ["True"]


def test_without_a_home_folder_only_the_cache_is_missed(tiny_artifact: Path, tmp_path: Path) -> None:
    code = """
import os, pwd, sys
for name in ("HOME", "XDG_CACHE_HOME", "EFQ_CACHE"):
    os.environ.pop(name, None)
def no_entry(number):
    raise KeyError(number)
pwd.getpwuid = no_entry  # as for a user whom /etc/passwd does not know
import numpy as np
from efq.runtime import Embedder
with Embedder.open(sys.argv[1]) as embedder:
    print(embedder.embed(np.arange(2 * 112 * 112 * 3).astype(np.uint8).reshape(2, 112, 112, 3)).shape[0])
"""
    assert run(tmp_path, code, tiny_artifact) == ["2"]


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/not/mounted", {"cpu.max": "300000 100000"}, 3.0),
        ("4:cpu,cpuacct:/x", VERSION_1 | {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000"}, 4.0),
        ("4:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("4:memory:/x", {"memory/x/cpu.max": "100000 100000"}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("", {}, None),
    ],
)
def test_quotas(groups: str, files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(groups + "\n", encoding="ascii")
    for name, text in files.items():
        path = tmp_path / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    assert cpu_quota(tmp_path / "own", tmp_path / "mounted") == expected


def test_a_closed_one_says_so(tiny_artifact: Path) -> None:
    embedder = Embedder.open(tiny_artifact, threads=2, backend="onnxruntime")
    embedder.close()
    embedder.close()
    with raises_naming(UsageError, "closed"):
        embedder.embed(FACES)
