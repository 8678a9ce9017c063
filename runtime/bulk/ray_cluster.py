"""Shards embedded on a Ray cluster, by Ray Data: one actor a device, or a share of CPUs, each a shard at a time.

The actors write the shards themselves, into the output folder, which every machine has to see under the same path, as
it does the images, the artifact and the detector. Nothing of an image passes through Ray, only numbers of shards and
what came of them. Ray's usage statistics are off unless `EFQ_TELEMETRY=1`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np

from efq.runtime.backends.model import thread_count
from efq.runtime.backends.telemetry import CHOICE
from efq.runtime.bulk.record import Outcome
from efq.runtime.bulk.shards import embed_shard
from efq.runtime.bulk.workers.children import begin_as_child
from efq.runtime.bulk.workers.pool import Submit, part_workers
from efq.runtime.bulk.workers.task import BulkTask
from efq.runtime.cleanup import descendants, kill_all
from efq.runtime.errors import DeviceError, EfqError, MissingDependencyError, error_class

LOCAL = "local"

_OBJECT_STORE = 80_000_000  # bytes, of a cluster of this run: 75 MiB is the least that Ray takes
_AUTHENTICATION, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joined:
    """Said when a cluster has been joined. address: HOST:PORT of its head."""

    address: str
    actors: int
    share: str


def drive(
    task: BulkTask, shards: Sequence[int], address: str, cpus: int, folder: Path | None, pipe: Connection
) -> None:
    """What the child of `ray_run` does: embed `shards`, and send what came of each, None at the end, or an error.

    folder: for the files of a cluster of this run.
    """
    begin_as_child()
    try:
        for answer in _embed(task, shards, address, cpus, folder):
            pipe.send(answer)
        pipe.send(None)
    except EfqError as error:
        pipe.send(error)


def _embed(
    task: BulkTask, shards: Sequence[int], address: str, cpus: int, folder: Path | None
) -> Iterator[Joined | Outcome]:
    ray = _import_ray(address)
    with _connected(ray, address, folder):
        share = {"num_cpus": cpus} if task.in_processes else {"num_gpus": 1}
        actors = min(_actors(ray, share), len(shards))
        yield Joined(address=ray.get_runtime_context().gcs_address, actors=actors, share=_words(share))
        task = dataclasses.replace(task, workers=cpus, in_processes=False)
        yield from _results(ray, task, shards, actors, share)


def _import_ray(address: str) -> Any:
    """`ray`, with `ray.data`, for a cluster there. Raises MissingDependencyError when it does not load."""
    if os.environ.get(CHOICE) != "1":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or it would listen on every network of the machine
        _set_own_token()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong is raised
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        message = f"this needs Ray, which cannot be imported ({error}); install it with: pip install 'efq[ray]'"
        raise MissingDependencyError(message) from error


def _set_own_token() -> None:
    """A token for a cluster of this run: Ray would keep one of its own making in the user's home."""
    if os.environ.setdefault(_AUTHENTICATION, "token") == "token" and _TOKEN_FILE not in os.environ:
        os.environ.setdefault(_TOKEN, secrets.token_hex(32))


class ShardEmbedder:
    """What an actor does. Its models are opened with its first shard, and closed with its process."""

    def __init__(self, task: BulkTask) -> None:
        self._task = task
        self._open = contextlib.ExitStack()
        self._submit: Submit | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The shards whose numbers are in `batch`; what went wrong comes back as the words of an error."""
        results = [self._result(int(shard)) for shard in batch["shard"]]
        return {name: np.array([result[name] for result in results]) for name in results[0]}

    def _result(self, shard: int) -> dict[str, Any]:
        result: dict[str, Any] = {"images": 0, "faces": 0, "failed": 0, "kind": "", "error": ""}
        try:
            if self._submit is None:
                self._submit = self._open.enter_context(part_workers(self._task))
            for outcome in embed_shard(self._task, self._submit, shard):
                for field, count in dataclasses.asdict(outcome).items():
                    result[field] += count
        except EfqError as error:
            result |= {"kind": type(error).__name__, "error": str(error)}
        except (OSError, MemoryError) as error:
            result |= {"kind": DeviceError.__name__, "error": f"{type(error).__name__}: {error}"}
        return result


def _results(
    ray: Any, task: BulkTask, shards: Sequence[int], actors: int, share: Mapping[str, int]
) -> Iterator[Outcome]:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.enable_operator_progress_bars = False
    rows = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards)).map_batches(
        ShardEmbedder,
        fn_constructor_kwargs={"task": task},
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=actors),
        **share,
    )
    try:
        for row in rows.iter_rows():
            if row["kind"]:
                raise error_class(str(row["kind"]))(str(row["error"]))
            yield Outcome(images=int(row["images"]), faces=int(row["faces"]), failed=int(row["failed"]))
    except EfqError:
        raise
    except Exception as error:  # Ray raises more than its own RayError where a cluster fails
        message = f"expected the Ray cluster to embed the shards, found: {type(error).__name__}: {str(error)[:1000]}"
        raise DeviceError(message) from error


def _actors(ray: Any, share: Mapping[str, int]) -> int:
    """How many the machines of the cluster have room for. Raises DeviceError for none."""
    ((name, each),) = share.items()
    resource = {"num_cpus": "CPU", "num_gpus": "GPU"}[name]
    rooms = [int(node["Resources"].get(resource, 0)) // each for node in ray.nodes() if node["Alive"]]
    if not sum(rooms):
        message = f"expected a machine with {_words(share)} in the Ray cluster, found none of {len(rooms)}"
        raise DeviceError(message)
    return sum(rooms)


def _words(share: Mapping[str, int]) -> str:
    ((name, each),) = share.items()
    return f"{each} {name.removeprefix('num_')[:-1].upper()}{'s' if each > 1 else ''}"


@contextlib.contextmanager
def _connected(ray: Any, address: str, folder: Path | None) -> Iterator[None]:
    """Join the cluster, or start one on this machine that hears nobody else, and leave it at the end."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if folder is not None:
        options |= {
            "include_dashboard": False,
            "num_cpus": thread_count(None),
            "object_store_memory": _OBJECT_STORE,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": str(folder),
        }
    with _stderr_held() as said:
        try:
            ray.init(address=address, **options)
        except Exception as error:  # Ray raises Exception itself where it does not start
            kill_all(descendants())  # what was started of it
            reason = ": ".join(filter(None, (str(error)[:500], _last_line(said))))
            message = (
                f"expected a Ray cluster ({address}), found none that answers: {reason}; one that asks for a token "
                f"takes it with {_AUTHENTICATION}=token and {_TOKEN} or {_TOKEN_FILE}"
            )
            raise DeviceError(message) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _stderr_held() -> Iterator[IO[bytes]]:
    """What this process writes to stderr, in a file: Ray's libraries say there why they do not join, once a second."""
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(before, 2)
            os.close(before)


def _last_line(file: IO[bytes]) -> str:
    """The last line, without time and place."""
    file.seek(0)
    lines = file.read().decode(errors="replace").splitlines() or [""]
    return lines[-1].rpartition("] ")[2][:300]
