"""efq-embed --ray on clusters that somebody else started: found, asked for a token, and gone midway."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from artifacts import make_artifact, random_faces
from click.testing import CliRunner
from messages import names, raises_naming

from efq.runtime.bulk import ray_run
from efq.runtime.cleanup import descendants, kill_all
from efq.runtime.embed_command import main
from efq.runtime.errors import DeviceError, UsageError

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

TOKEN = "ab12" * 16
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # or 127.0.0.1 is taken for an address that others reach
WITH_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
PATIENCE = 900.0  # seconds, on a machine that others use
STARTS = 3


class Cluster:
    """A head of one CPU on this machine, which asks for `TOKEN`."""

    def __init__(self, process: subprocess.Popen[str], address: str, processes: set[int]) -> None:
        self.process, self.address, self._processes = process, address, processes

    def kill(self) -> None:
        """What was running when it had started; what it started since ends with that."""
        kill_all(self._processes)
        self.process.wait(PATIENCE)


@contextlib.contextmanager
def cluster_of(folder: Path) -> Iterator[Cluster]:
    """Until the end of the block. folder: of a short path."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["start", "--head", "--block", "--port", str(port), "--node-ip-address", "127.0.0.1", "--num-cpus", "1"]
    words += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory", "80000000"]
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *words]
    environment = os.environ | WITH_TOKEN | ON_LOOPBACK
    older = set(descendants())
    with subprocess.Popen(
        [*command, "--temp-dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if "--block" in line:
                    break
            else:
                raise AssertionError("".join(said[-20:]))
            made = Cluster(process, f"127.0.0.1:{port}", set(descendants()) - older)
            yield made
        finally:
            kill_all(set(descendants()) - older)


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder,
        cluster_of(Path(folder)) as made,
    ):
        yield made


class Runs:
    """Runs of efq-embed; few: twelve faces in four shards, many: the same 500 times, in twenty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        artifact = make_artifact(folder / "artifact")
        for index, face in enumerate(random_faces(12)):
            path = folder / "people" / "abc"[index % 3] / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), face)
        self.words = [str(artifact), "--parquet", "--backend", "onnxruntime"]
        self.few = [str(folder / "people"), "--shard", "3"]
        paths = sorted((folder / "people").rglob("*.png"))
        (folder / "list.txt").write_text("".join(f"{path}\n" for path in paths) * 500)
        self.many = ["--list", str(folder / "list.txt"), "--shard", "300"]

    def start(
        self, output: str, *more: str, faces: list[str] | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A process of efq-embed, which finds no token but that of `environment`."""
        words = [*self.words, *(faces or self.few), "-o", str(self._folder / output), *more]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return subprocess.Popen(
            [sys.executable, "-m", "efq.runtime.embed_command", *words],
            stderr=subprocess.PIPE,
            text=True,
            env=inherited | ON_LOOPBACK | {"HOME": str(self._folder)} | (environment or {}),
        )

    def content(self, output: str) -> dict[str, bytes]:
        """Of all files."""
        root = self._folder / output
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def finished(self, output: str) -> int:
        """How many shards are there."""
        return sum(1 for _ in (self._folder / output / "embeddings").glob("[0-9]*.parquet"))


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it said on stderr."""
    with run:
        _, said = run.communicate(timeout=PATIENCE)
    return run.returncode, said


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    made = Runs(tmp_path_factory.mktemp("runs"))
    assert ended(made.start("one", "--threads", "1"))[0] == 0
    return made


@pytest.mark.parametrize("address", ["HOST:PORT", "auto"])
def test_a_cluster_writes_the_same_bytes(cluster: Cluster, runs: Runs, address: str) -> None:
    output, found = address.replace(":", "-"), cluster.address if address == "HOST:PORT" else address
    for _ in range(STARTS):  # Ray gives its own processes half a minute to start, which a busy machine may not
        code, said = ended(runs.start(output, "--ray", found, "--resume", environment=WITH_TOKEN))
        if code != DeviceError.exit_code:
            break
    assert code == 0, said
    names(said, "12/12", "1 actors", "1 CPU")
    assert runs.content(output) == runs.content("one")
    assert cluster.process.poll() is None, "it is left as it was"


@pytest.mark.parametrize(  # Ray takes twenty seconds to say that a token is missing or wrong
    ("address", "environment"),
    [
        ("HOST:PORT", {}),
        ("HOST:PORT", {"RAY_AUTH_MODE": "token"}),
        ("auto", {"RAY_AUTH_MODE": "token"}),
        ("HOST:PORT", WITH_TOKEN | {"RAY_AUTH_TOKEN": "cd34" * 16}),
    ],
    ids=["none", "no token", "auto, no token", "a wrong token"],
)
def test_a_token_is_asked_for(cluster: Cluster, runs: Runs, address: str, environment: dict[str, str]) -> None:
    found = cluster.address if address == "HOST:PORT" else address
    code, said = ended(runs.start("refused", "--ray", found, "--resume", environment=environment))
    assert code == DeviceError.exit_code, said
    names(said.splitlines()[-1], found, "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN")
    names(said.partition("error: ")[2].lower(), "authentication token")
    names(said, "--resume")
    assert TOKEN not in said
    assert runs.finished("refused") == 0
    assert len(said.splitlines()) < 6, said


def test_a_cluster_that_goes_away_midway(runs: Runs, short: Path) -> None:
    with cluster_of(short) as cluster:
        run = runs.start("left", "--ray", cluster.address, faces=runs.many, environment=WITH_TOKEN)
        while runs.finished("left") < 1:
            assert run.poll() is None
            time.sleep(0.005)
        cluster.kill()
        since = time.monotonic()
        code, said = ended(run)
    assert code == DeviceError.exit_code, said
    assert time.monotonic() - since < 120
    names(said.splitlines()[-1], "Ray cluster")
    names(said, "--resume")
    assert 1 <= runs.finished("left") < 20
    for output, more in (("left", "--resume"), ("whole", "--json")):
        code, said = ended(runs.start(output, "--threads", "1", more, faces=runs.many))
        assert code == 0, said
    assert runs.content("left") == runs.content("whole")


def test_nothing_is_left_of_a_cluster_of_this_run(runs: Runs, short: Path) -> None:
    for _ in range(STARTS):
        code, said = ended(runs.start("local", "--ray", "local", "--resume", environment={"TMPDIR": str(short)}))
        if code != DeviceError.exit_code:
            break
    assert code == 0, said
    assert runs.content("local") == runs.content("one")
    assert list(short.iterdir()) == []
    assert not (Path(runs.words[0]).parent / ".ray").exists(), "Ray's own token, in the home"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.0.0.1:65536", "somewhere", "http://127.0.0.1:6379", ":6379"])
def test_what_is_no_address(runs: Runs, address: str) -> None:
    with raises_naming(UsageError, address, "HOST:PORT"):
        ray_run.check_ray(address)


def test_something_else_that_listens(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_run, "_JOIN", 5.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        words = [*runs.words, *runs.few, "-o", str(tmp_path / "out"), "--ray", address]
        result = CliRunner().invoke(main, words)
    assert result.exit_code == DeviceError.exit_code, result.output
    names(result.stderr.splitlines()[-1], address, "within 5 s")
    assert multiprocessing.active_children() == []


def test_nothing_that_listens(runs: Runs) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    since = time.monotonic()
    code, said = ended(runs.start("nowhere", "--ray", address))
    assert code == DeviceError.exit_code, said
    names(said.splitlines()[-1], address, "listens")
    assert time.monotonic() - since < 60
