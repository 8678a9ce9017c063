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
import re
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efq.runtime import errors
from efq.runtime.backends.model import thread_count
from efq.runtime.backends.telemetry import CHOICE
from efq.runtime.bulk.record import Outcome
from efq.runtime.bulk.shards import embed_shard
from efq.runtime.bulk.workers.pool import Submit, part_workers
from efq.runtime.bulk.workers.task import BulkTask
from efq.runtime.cleanup import descendants, kill_descendants, undone_by_a_signal
from efq.runtime.errors import DeviceError, EfqError, MissingDependencyError, UsageError
from efq.runtime.files import temporary_folder
from efq.runtime.progress import ShowProgress, no_progress

LOCAL, RUNNING = "local", "auto"

_ADDRESS = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}|\[[0-9A-Fa-f:]+\]:[0-9]{1,5}")
_OBJECT_STORE = 80_000_000  # bytes, of a cluster of this run: 75 MiB is the least that Ray takes
_LONGEST_FOLDER = 42  # bytes: Ray puts sockets below, whose paths have 107 at most


def check_address(address: str) -> None:
    """Raise UsageError for what names no cluster."""
    if address not in (LOCAL, RUNNING) and not _ADDRESS.fullmatch(address):
        message = f"expected HOST:PORT of a Ray cluster, {RUNNING} or {LOCAL} after --ray, found {address[:100]!r}"
        raise UsageError(message)


def embed_on_ray(
    task: BulkTask, shards: Sequence[int], *, address: str, cpus: int, progress: ShowProgress = no_progress
) -> Iterator[Outcome]:
    """Embed `shards` on the cluster at `address`, and yield what came of each when it is written.

    cpus: of an actor, where the artifact runs on CPUs; otherwise an actor has a GPU. Raises what embedding does there,
    MissingDependencyError without Ray, UsageError for an address that is none, DeviceError for a cluster that cannot be
    reached, has no such share, or fails.
    """
    check_address(address)
    ray = import_ray(address)
    with _connected(ray, address):
        share = {"num_cpus": cpus} if task.in_processes else {"num_gpus": 1}
        actors = min(_actors(ray, share), len(shards))
        logging.getLogger(__name__).info("%d actors embed, each with %s", actors, _words(share))
        task = dataclasses.replace(task, workers=cpus, in_processes=False)
        yield from _results(ray, task, shards, actors, share)


def import_ray(address: str) -> Any:
    """`ray`, with `ray.data`, for a cluster there. Raises MissingDependencyError when it does not load."""
    if os.environ.get(CHOICE) != "1":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or it would listen on every network of the machine
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong is raised
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        message = f"this needs Ray, which cannot be imported ({error}); install it with: pip install 'efq[ray]'"
        raise MissingDependencyError(message) from error


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
                raise _error_of(row["kind"], row["error"])
            yield Outcome(images=int(row["images"]), faces=int(row["faces"]), failed=int(row["failed"]))
    except ray.exceptions.RayError as error:
        message = f"expected the Ray cluster to embed the shards, found: {str(error)[:1000]}"
        raise DeviceError(message) from error


def _error_of(kind: str, text: str) -> EfqError:
    """What an actor raised, as it would have been raised here."""
    found = getattr(errors, kind, EfqError)
    return found(text) if isinstance(found, type) and issubclass(found, EfqError) else EfqError(text)


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
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Join the cluster, or start one on this machine that hears nobody else, and leave it at the end."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            options |= {
                "num_cpus": thread_count(None),
                "object_store_memory": _OBJECT_STORE,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": str(_short(stack.enter_context(temporary_folder("ray")))),
            }
            stack.enter_context(undone_by_a_signal(kill_descendants))  # Ray's own agents outlive what started them
        else:
            del options["include_dashboard"]
        older = descendants()
        try:
            with _own_signals():
                ray.init(address=address, **options)
        except Exception as error:  # Ray raises Exception itself where it does not start
            ray.shutdown()
            if address == LOCAL:
                kill_descendants(but=older)  # what was started of it
            message = (
                f"expected a Ray cluster ({address}), found none that answers: {str(error)[:500]}; one that "
                "asks for a token takes it with RAY_AUTH_MODE=token"
            )
            raise DeviceError(message) from error
        stack.callback(ray.shutdown)
        yield


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, in the place of which Ray sets its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)


def _short(folder: Path) -> Path:
    """Raises UsageError for a folder whose path is too long for Ray's sockets."""
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        message = (
            f"expected a folder for temporary files with a short path for Ray, found {tempfile.gettempdir()}; set "
            "TMPDIR to /tmp or the like"
        )
        raise UsageError(message)
    return folder
