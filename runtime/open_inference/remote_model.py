"""Which model of a server is asked, and what it is fed."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.model import OUTPUT_NAME
from efq.runtime.errors import IncompatibleArtifactError, InputError, ServerError, UsageError
from efq.runtime.faces.interface import Interface
from efq.runtime.open_inference.addresses import Address
from efq.runtime.open_inference.connections import Answer, Connections
from efq.runtime.open_inference.messages import read_object
from efq.runtime.open_inference.metadata import (
    BINARY_EXTENSION,
    ModelMetadata,
    Port,
    ServedModel,
    ServerMetadata,
)

Parsed = TypeVar("Parsed")

METADATA_BYTES = 2**20

_BINARY_SERVERS = ("openvino model server",)
_LONGEST_ERROR = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteModel:
    """name and path: on the server. input_name and output_name: of its tensors. binary: whether these are bytes.

    served: what it takes and whose embeddings it gives. artifact: the folder that says so, None where the server did.
    """

    name: str
    path: str
    input_name: str
    output_name: str
    binary: bool
    served: ServedModel
    artifact: Artifact | None


def find_model(
    connections: Connections,
    *,
    model: str | None,
    version: str | None,
    artifact: Artifact | None,
    interface: Interface | None,
    binary: bool | None,
) -> RemoteModel:
    """Ask for the server's and the model's metadata. Raises as `RemoteEmbedder.open` says."""
    address = connections.address
    server = _asked(connections, "/v2", "the server's metadata", ServerMetadata.parse)
    name = model or _only_model(server, artifact, address)
    path = f"/v2/models/{urllib.parse.quote(name, safe='')}"
    if version is not None:
        path += f"/versions/{urllib.parse.quote(version, safe='')}"
    metadata, told = _asked(connections, path, f"the metadata of the model {name}", _model_and_told)
    served = _served(told, artifact, interface, address)
    fed, given = _ports(metadata, address)
    fed_type = "FP32" if served.interface.is_float else "UINT8"
    batch = _check_port(fed, (fed_type, served.interface.image_shape(served.contract)), address)
    _check_port(given, ("FP32", (served.model.embedding_size,)), address)
    if batch is not None:
        served = dataclasses.replace(served, interface=dataclasses.replace(served.interface, batch=batch))
    takes_bytes = BINARY_EXTENSION in server.extensions or server.name.lower().startswith(_BINARY_SERVERS)
    return RemoteModel(
        name=name,
        path=path,
        input_name=fed.name,
        output_name=given.name,
        binary=takes_bytes if binary is None else binary,
        served=served,
        artifact=artifact,
    )


def check_answer(answer: Answer, address: Address, what: str) -> None:
    """Raises ServerError, with what the server says, for any status but 200."""
    if answer.status == 200:
        return
    said = _said(answer.body)
    remedy = {401: "; pass the server's api_key", 403: "; pass the server's api_key"}.get(answer.status, "")
    message = f"expected {what} from {address}, found the status {answer.status}{said}{remedy}"
    raise ServerError(message)


def _said(body: bytes) -> str:
    """What an error says, in one line: the protocol has {"error": text}, EFQ's service {"error": {"message": text}}."""
    try:
        error = read_object(body, "an error").get("error")
    except InputError:
        return ""
    text = error.get("message") if isinstance(error, dict) else error
    if not isinstance(text, str):
        return ""
    line = "".join(character if character.isprintable() else " " for character in text[:_LONGEST_ERROR])
    return f" ({line})"


def _model_and_told(values: Mapping[str, Any]) -> tuple[ModelMetadata, ServedModel | None]:
    metadata = ModelMetadata.parse(values)
    return metadata, ServedModel.parse(metadata)


def _asked(connections: Connections, path: str, what: str, parse: Callable[[Mapping[str, Any]], Parsed]) -> Parsed:
    answer = connections.ask("GET", path, most=METADATA_BYTES)
    check_answer(answer, connections.address, what)
    try:
        return parse(read_object(answer.body, what))
    except InputError as error:
        message = f"{error}, in the answer of {connections.address}: it is no server of the Open Inference Protocol"
        raise ServerError(message) from error


def _only_model(server: ServerMetadata, artifact: Artifact | None, address: Address) -> str:
    if len(server.models) == 1:
        return server.models[0]
    if artifact is not None:
        return artifact.manifest.name
    message = (
        f"expected the name of a model, which {server.name} at {address} does not say itself, found none: pass model, "
        "and artifact, the folder that it serves"
    )
    raise UsageError(message)


def _served(
    told: ServedModel | None, artifact: Artifact | None, interface: Interface | None, address: Address
) -> ServedModel:
    """What the artifact says, or else the server."""
    if artifact is None:
        if told is None:
            message = (
                f"expected artifact, the folder of the model, as {address} does not say what it is fed and whose "
                "embeddings it gives, found none: pass it"
            )
            raise UsageError(message)
        return told if interface is None else dataclasses.replace(told, interface=interface)
    known = ServedModel.of_artifact(artifact, interface)
    if told is None:
        return known
    if not known.model.same_as(told.model):
        message = (
            f"expected {known.model}, the model of {artifact.directory}, at {address}, found {told.model}: their "
            "embeddings cannot be compared"
        )
        raise IncompatibleArtifactError(message)
    return dataclasses.replace(known, interface=interface or told.interface)


def _ports(metadata: ModelMetadata, address: Address) -> tuple[Port, Port]:
    """The input, and the output of embeddings: the only one, or the one of that name."""
    outputs: Sequence[Port] = metadata.outputs
    if len(outputs) > 1:
        outputs = [port for port in outputs if port.name == OUTPUT_NAME]
    if len(metadata.inputs) != 1 or len(outputs) != 1:
        message = (
            f"expected a model with one input, and one output or one of the name {OUTPUT_NAME}, at {address}, found "
            f"{len(metadata.inputs)} and {len(metadata.outputs)}"
        )
        raise ServerError(message)
    return metadata.inputs[0], outputs[0]


def _check_port(port: Port, expected: tuple[str, tuple[int, ...]], address: Address) -> int | None:
    """The fixed batch, None for any. Raises ServerError for another type or shape of one image."""
    datatype, shape = expected
    fits = port.datatype == datatype and len(port.shape) == len(shape) + 1
    fits = fits and all(size in (None, one) for size, one in zip(port.shape[1:], shape, strict=True))
    batch = port.shape[0] if port.shape else None
    if not fits or batch == 0:
        sizes = [-1 if size is None else size for size in port.shape]
        message = (
            f"expected the tensor {port.name} as {datatype} {[-1, *shape]} at {address}, found {port.datatype} {sizes}:"
            " the server has another model, or this one with another interface; pass the artifact or interface it has"
        )
        raise ServerError(message)
    return batch
