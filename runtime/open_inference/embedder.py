"""An embedder whose model is on a server of the Open Inference Protocol: EFQ's service, Triton, OpenVINO Model Server.

A matching service scales by pointing at one of them, or at a load balancer before several.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import flag, number, path_of, text, whole_number
from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.answers import fault_of
from efq.runtime.backends.choice import random_images
from efq.runtime.embedder import LARGEST_BATCH
from efq.runtime.errors import ChecksumError, IncompatibleArtifactError, InputError, ServerError
from efq.runtime.faces.batch import check_images
from efq.runtime.faces.interface import Interface
from efq.runtime.gallery.record import EmbeddingModel
from efq.runtime.open_inference.addresses import Address, authorization
from efq.runtime.open_inference.connections import Connections
from efq.runtime.open_inference.messages import HEADER_LENGTH, largest_of, read_response, write_request
from efq.runtime.open_inference.remote_model import RemoteModel, check_answer, find_model

TIMEOUT = 30.0
TRIES = 4

_SHORTEST, _LONGEST = 1e-3, 1_000_000  # seconds of a timeout


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
    """What `RemoteEmbedder.open` was given, to open it again in another process."""

    url: str
    model: str | None
    version: str | None
    artifact: str | Artifact | None
    interface: Interface | None
    api_key: str | None = dataclasses.field(repr=False)
    binary: bool | None
    timeout: float
    tries: int


class RemoteEmbedder:
    """Computes face embeddings on a server. Made by `RemoteEmbedder.open`; used as an `Embedder` is.

    Concurrency: any number of threads may use it at once; each call has a connection of its own meanwhile, and they are
    kept open. The child of a fork opens its own. So does the process that it is sent to: pickled it is its address, its
    options and the key, so that it has to be sent to where the key may be, and the server has to serve the same model.
    """

    def __init__(self, options: _Options, connections: Connections, remote: RemoteModel) -> None:
        self._options = options
        self._connections = connections
        self._remote = remote
        self._version: str | None = None
        _embedders.add(self)

    @classmethod
    def open(
        cls,
        url: str,
        model: str | None = None,
        *,
        version: str | None = None,
        artifact: Path | str | Artifact | None = None,
        interface: Interface | str | None = None,
        api_key: str | None = None,
        binary: bool | None = None,
        timeout: float = TIMEOUT,
        tries: int = TRIES,
    ) -> Self:
        """Ask the server at `url` (http://HOST:PORT) for its model, and find out that it embeds.

        EFQ's service says itself what it is fed and which model it has, so that `url` is enough. For other servers
        `artifact` is the folder that they serve the model of: from it are known the contract, the interface, and the
        probe, whose embedding by the server has to be the one it had at export. `interface` is what the server is fed
        where that is not the artifact's own. With an artifact EFQ's service has to serve the same model.

        `model` and `version` are the server's names; without them the artifact's name and the server's choice. binary:
        whether tensors are sent as bytes; None does so where the server says that it takes them, or is OpenVINO Model
        Server, else they are JSON, many times slower. `api_key` is sent as `Authorization: Bearer`. A call ends within
        `timeout` seconds a batch of 64, in which it is sent again, `tries` times at most, where the connection fails or
        the server is busy.

        Raises ServerError for a server that does not answer, has no such model, or answers what cannot be;
        IncompatibleArtifactError for one with another model (ProbeError by its embedding), and as `Artifact.open`;
        UsageError for options that cannot be, or where neither an artifact nor the server says what it is fed.
        """
        options = _Options(
            url=text(url, "the address of a server as text"),
            model=None if model is None else text(model, "a model by its name"),
            version=None if version is None else text(version, "a version as text"),
            artifact=_place_of(artifact),
            interface=_interface_of(interface),
            api_key=None if api_key is None else text(api_key, "an API key as text"),
            binary=None if binary is None else flag(binary, "binary"),
            timeout=number(timeout, f"a timeout of {_SHORTEST} to {_LONGEST:,} s", least=_SHORTEST, most=_LONGEST),
            tries=whole_number(tries, "at least one try", least=1),
        )
        return cls._opened(options)

    @classmethod
    def _opened(cls, options: _Options) -> Self:
        artifact = Artifact.open(options.artifact) if isinstance(options.artifact, str) else options.artifact
        headers = authorization(options.api_key)
        address = Address.parse(options.url)
        connections = Connections(address, headers, timeout=options.timeout, tries=options.tries)
        try:
            remote = find_model(
                connections,
                model=options.model,
                version=options.version,
                artifact=artifact,
                interface=options.interface,
                binary=options.binary,
            )
            opened = cls(options, connections, remote)
            if opened.check_probe() is None:
                opened.embed(random_images(opened.contract)[:2])
        except BaseException:
            connections.close()
            raise
        return opened

    @property
    def backend(self) -> str:
        """ "open-inference": the runtime behind it is the server's matter."""
        return "open-inference"

    @property
    def artifact(self) -> Artifact | None:
        """The folder it was opened with; None without one."""
        return self._remote.artifact

    @property
    def model(self) -> EmbeddingModel:
        """Whose embeddings these are, as galleries keep it; its digest is None where neither side knows it."""
        return self._remote.served.model

    @property
    def contract(self) -> InputContract:
        """What `embed` expects of an image."""
        return self._remote.served.contract

    @property
    def embedding_size(self) -> int:
        """d of the (N, d) embeddings."""
        return self._remote.served.model.embedding_size

    def __repr__(self) -> str:
        return f"RemoteEmbedder({self._connections.address}, {self._remote.name!r})"

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned RGB faces, uint8 (N, H, W, 3): a new float32 array (N, d) with rows of unit length.

        As `Embedder.embed`, InputError and UsageError included. Raises ServerError where the server does not answer in
        time, refuses, or answers what are no such embeddings; IncompatibleArtifactError where it serves another model
        by now, or another version than it was opened with: embeddings of two models cannot be compared.
        """
        check_images(images, self.contract)
        embeddings = np.empty((len(images), self.embedding_size), np.float32)
        for start in range(0, len(images), LARGEST_BATCH):
            part = images[start : start + LARGEST_BATCH]
            found = self._remote.served.interface.feed(part, self._ask)
            fault = fault_of(found, part, embedding_size=self.embedding_size, first=start)
            if fault is not None:
                self._refuse(*fault)
            embeddings[start : start + len(part)] = found
        return embeddings

    def check_probe(self) -> float | None:
        """Have the artifact's probe image embedded: the cosine to what it was at export; None without one.

        `RemoteEmbedder.open` has done so. Raises ProbeError when it is too low, and what `embed` raises.
        """
        probe = None if self.artifact is None else self.artifact.probe()
        if probe is None:
            return None
        return probe.check(self.embed(probe.image[np.newaxis]), where=str(self._connections.address))

    def close(self) -> None:
        """Close the connections; later calls of `embed` raise UsageError. Closing again does nothing."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., RemoteEmbedder], tuple[object, ...]]:
        return _open_again, (type(self), self._options, self.model)

    def _ask(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Embeddings of what the server is fed."""
        remote = self._remote
        message = write_request(
            batch, input_name=remote.input_name, output_name=remote.output_name, binary=remote.binary
        )
        spec = remote.served.output_spec(name=remote.output_name, images=len(batch))
        answer = self._connections.ask("POST", f"{remote.path}/infer", message, most=largest_of(spec, binary=False))
        check_answer(answer, self._connections.address, "embeddings")
        try:
            response = read_response(answer.body, answer.headers.get(HEADER_LENGTH), spec=spec)
        except InputError as error:
            message_text = f"{error}, in the answer of {self._connections.address}"
            raise ServerError(message_text) from error
        self._check_model(response.parameters.get("model_sha256"), response.version)
        return response.embeddings

    def _check_model(self, sha256: object, version: str | None) -> None:
        self._version = self._version or version
        expected = self._remote.served.model.sha256
        if (expected is None or sha256 is None or sha256 == expected) and version == self._version:
            return
        found = f"version {version}" if version != self._version else "one of another digest"
        message = (
            f"expected embeddings of the model that {self._connections.address} had when it was opened, found those of "
            f"{found}: it serves another model by now, whose embeddings cannot be compared; open it again"
        )
        raise IncompatibleArtifactError(message)

    def _refuse(self, expected: str, found: str) -> NoReturn:
        message = (
            f"expected {expected} from {self._connections.address}, found {found}: the model there is another one or "
            "damaged, or the interface it is fed by is not its own"
        )
        raise ServerError(message)


def _place_of(artifact: Path | str | Artifact | None) -> str | Artifact | None:
    if artifact is None or isinstance(artifact, Artifact):
        return artifact
    return str(path_of(artifact, "an artifact's folder").absolute())


def _interface_of(interface: Interface | str | None) -> Interface | None:
    if interface is None or isinstance(interface, Interface):
        return interface
    return Interface.parse(text(interface, "an interface, or its text"))


_embedders: weakref.WeakSet[RemoteEmbedder] = weakref.WeakSet()


def _after_fork() -> None:
    for embedder in list(_embedders):
        embedder._connections.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _open_again(kind: type[RemoteEmbedder], options: _Options, model: EmbeddingModel) -> RemoteEmbedder:
    """What a RemoteEmbedder that was pickled becomes. Raises ChecksumError for another model by now."""
    opened = kind._opened(options)
    if opened.model != model:
        opened.close()
        message = f"expected the model that this RemoteEmbedder was sent with, {model}, found {opened.model}"
        raise ChecksumError(message)
    return opened
