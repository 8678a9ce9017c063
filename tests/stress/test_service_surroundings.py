"""The service while what it stands on goes away or changes: its database, the clock, a disk that can be written to."""

from __future__ import annotations

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
services = pytest.importorskip("services")

pytestmark = pytest.mark.slow

PATIENCE = 60.0  # seconds, on a machine that others use
DAY = 86_400
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
READ_ONLY = """
mount --bind "$0" "$0" && mount -o remount,bind,ro / || exit 77
if touch /usr/efq-probe /tmp/efq-probe 2>/dev/null; then exit 77; fi
exec "$@"
"""


class Clients:
    """Threads that enroll, search and list, and what they were answered."""

    def __init__(self, service: services.Service) -> None:
        self.statuses: collections.Counter[str] = collections.Counter()
        self.enrolled: list[str] = []
        self.slowest = 0.0
        self._service = service
        self._over = threading.Event()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Meanwhile four of them ask."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)

    def _work(self, number: int) -> None:
        with httpx.Client(base_url=self._service.address, timeout=PATIENCE, trust_env=False) as client:
            turn = 0
            while not self._over.is_set():
                name = f"person {number}/{turn}"
                answers = [
                    client.post("/v1/people", json={"person": name, "images": [services.image(turn % 5)]}),
                    client.post("/v1/search", json={"image": services.image(1), "k": 1}),
                    client.get("/v1/people", params={"limit": 3}),
                ]
                turn += 1
                with self._lock:
                    if answers[0].status_code == 201:
                        self.enrolled.append(name)
                    for answer in answers:
                        known = answer.status_code < 300
                        self.statuses["good" if known else answer.json()["error"]["code"]] += 1
                        self.slowest = max(self.slowest, answer.elapsed.total_seconds())


def everybody(client: httpx.Client) -> set[str]:
    """The names of all who are enrolled."""
    names: list[str] = []
    while True:
        options = {"limit": 1000} | ({"after": names[-1]} if names else {})
        page = client.get("/v1/people", params=options).json()["people"]
        if not page:
            return set(names)
        names += [one["person"] for one in page]


def wait_until_ready(client: httpx.Client, status: int) -> None:
    end = time.monotonic() + PATIENCE
    while client.get("/v2/health/ready").status_code != status:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_its_database_goes_away_and_comes_back(tiny_artifact: Path, how: int) -> None:
    """Under load, by a stop and by a crash: typed errors meanwhile; it recovers by itself, with who was enrolled."""
    pytest.importorskip("psycopg")
    from postgresql import running_server

    with running_server() as server:
        place = server.url(server.new_database())
        with services.serving(tiny_artifact, "--gallery", place, "--threshold", "0.3") as service:
            clients = Clients(service)
            with clients.working():
                for _ in range(2):
                    time.sleep(1)
                    server.stop(how)
                    wait_until_ready(service.client, 503)
                    assert service.client.get("/v2/health/live").status_code == 200
                    time.sleep(1)
                    server.start()
                    wait_until_ready(service.client, 200)
                    good = clients.statuses["good"]
                    end = time.monotonic() + PATIENCE
                    while clients.statuses["good"] < good + 20:
                        assert time.monotonic() < end
                        time.sleep(0.1)
            assert set(clients.statuses) <= {"good", "gallery_unavailable", "deadline_exceeded", "overloaded"}
            assert clients.statuses["gallery_unavailable"] > 0
            assert set(clients.enrolled) <= everybody(service.client)
            assert service.stop(PATIENCE) == 0
        assert "Traceback" not in "".join(service.log)


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed: apt-get install faketime")
def test_the_clock_jumps(tiny_artifact: Path, tmp_path: Path) -> None:
    """By a day, to ten years before, and back: deadlines, batches and the end are counted by another clock."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    faked = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a clock that is set does not set that one
    }
    options = ("--gallery", str(tmp_path / "people.db"), "--threshold", "0.3")
    with services.serving(tiny_artifact, *options, environment=faked) as service:
        clients = Clients(service)
        with clients.working():
            for jump in (DAY, -10 * 365 * DAY, 0):
                time.sleep(1)
                offset.write_text(f"{jump:+d}")
            time.sleep(1)
        assert set(clients.statuses) == {"good"}
        assert clients.slowest < 10
        assert set(clients.enrolled) <= everybody(service.client)
        assert service.client.get("/v2/health/ready").status_code == 200
        assert service.stop(PATIENCE) == 0
    days = {str(line["time"])[:10] for line in service.lines()}
    assert len(days) >= 3  # the jumps came


def test_a_root_that_is_read_only(tiny_artifact: Path, tmp_path: Path) -> None:
    """As Kubernetes' readOnlyRootFilesystem: all but the gallery's folder, /tmp and the cache's place with it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed")
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    before = (unshare, "--mount", "--map-root-user", "sh", "-c", READ_ONLY, str(gallery))
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"nothing may be mounted here, or / holds not /tmp: {tried.stderr.strip()[:200]}")
    with services.serving(
        tiny_artifact,
        "--gallery",
        str(gallery / "people.db"),
        environment={"EFQ_CACHE": str(tmp_path / "cache")},
        before=before,
    ) as service:
        name = {"person": "Ann", "images": [services.image(0)]}
        assert service.client.post("/v1/people", json=name).status_code == 201
        found = service.client.post("/v1/search", json={"image": services.image(0), "threshold": 0.3}).json()
        assert [match["person"] for match in found["matches"]] == ["Ann"]
        assert service.client.get("/v2/health/ready").status_code == 200
        assert service.stop(PATIENCE) == 0
    assert {path.name.partition(".db")[0] for path in gallery.iterdir()} == {"people"}
    assert not (tmp_path / "cache").exists()
    assert not os.path.lexists("/tmp/efq-probe")
