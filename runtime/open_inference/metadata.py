"""What a server of the Open Inference Protocol says of itself and of a model.

EFQ's service adds to what the protocol asks for: the names of its models to the server's metadata, and to a model's
`parameters` what a client has to know to feed it (`ServedModel`). Both are extensions of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import MODEL_FILE, Artifact
from efq.runtime.backends.model import INPUT_NAME, OUTPUT_NAME
from efq.runtime.errors import InputError, SchemaError, UsageError
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.gallery.record import EmbeddingModel
from efq.runtime.open_inference.datatypes import DATATYPES
from efq.runtime.open_inference.tensors import MOST_DIMENSIONS, TensorSpec, object_of, text_of

BINARY_EXTENSION = "binary_tensor_data"
VERSION = "1"
"""Of a model in EFQ's service, which serves one."""

_MOST_TENSORS = 64
_CONTRACT = "input_"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerMetadata:
    """name and version: of the server. extensions: that it says it has. models: that EFQ's service has; else none."""

    name: str
    version: str
    extensions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As the answer to GET /v2."""
        return dataclasses.asdict(self)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From that answer. Raises InputError for another one."""
        return cls(
            name=text_of(values.get("name"), "the name of a server"),
            version=text_of(values.get("version"), "the version of a server"),
            extensions=_texts(values, "extensions"),
            models=_texts(values, "models"),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of a served model. shape: None for a dimension that is free."""

    name: str
    datatype: str
    shape: tuple[int | None, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": [-1 if size is None else size for size in self.shape],
        }

    @classmethod
    def parse(cls, values: object) -> Self:
        """From a model's metadata, where Triton writes sizes as numbers or as text. Raises InputError."""
        found = object_of(values, "a tensor of a model")
        name = text_of(found.get("name"), "the name of a tensor")
        shape, datatype = found.get("shape"), found.get("datatype")
        if not isinstance(shape, list) or not len(shape) <= MOST_DIMENSIONS:
            message = f"expected a shape of at most {MOST_DIMENSIONS} sizes of the tensor {name}, found another"
            raise InputError(message)
        sizes = [int(size) if isinstance(size, str) and size.lstrip("-")[:9].isdecimal() else size for size in shape]
        if not all(type(size) is int and -1 <= size < 2**31 for size in sizes):
            message = f"expected sizes in the shape of the tensor {name}, -1 for a free one, found others"
            raise InputError(message)
        if not isinstance(datatype, str) or datatype not in DATATYPES:
            message = f"expected one of the types {', '.join(DATATYPES)} of the tensor {name}, found {datatype!r:.40}"
            raise InputError(message)
        return cls(name=name, datatype=datatype, shape=tuple(None if size == -1 else size for size in sizes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """name: of the model. inputs and outputs: its tensors. parameters: what else the server says, plain values."""

    name: str
    platform: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As the answer to GET /v2/models/NAME."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self.platform,
            "inputs": [port.to_dict() for port in self.inputs],
            "outputs": [port.to_dict() for port in self.outputs],
            "parameters": dict(self.parameters),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From that answer. Raises InputError for another one."""
        parameters = values.get("parameters", {})
        return cls(
            name=text_of(values.get("name"), "the name of a model"),
            platform=str(values.get("platform", ""))[:100],
            inputs=_ports(values, "inputs"),
            outputs=_ports(values, "outputs"),
            parameters=parameters if isinstance(parameters, dict) else {},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What has to be known of a model to have its embeddings computed elsewhere.

    contract: what an image is. interface: what the server is fed. model: whose embeddings come back.
    """

    contract: InputContract
    interface: Interface
    model: EmbeddingModel

    @classmethod
    def of_artifact(cls, artifact: Artifact, interface: Interface | None = None) -> Self:
        """The artifact's, with its own interface unless another is given."""
        manifest = artifact.manifest
        digest = artifact.checksums[MODEL_FILE]
        return cls(
            contract=manifest.input,
            interface=manifest.surface if interface is None else interface,
            model=EmbeddingModel(sha256=digest, name=manifest.name, embedding_size=manifest.embedding_size),
        )

    def metadata(self, name: str) -> ModelMetadata:
        """As EFQ's service serves it under `name`, whatever the artifact's interface: bytes as decoded."""
        contract = self.contract
        values = {f"{_CONTRACT}{key}": value for key, value in contract.to_dict().items()}
        return ModelMetadata(
            name=name,
            platform="efq",
            inputs=(Port(name=INPUT_NAME, datatype="UINT8", shape=(None, contract.height, contract.width, 3)),),
            outputs=(Port(name=OUTPUT_NAME, datatype="FP32", shape=(None, self.model.embedding_size)),),
            parameters={"model_sha256": self.model.sha256, "interface": str(USUAL), **values},
        )

    @classmethod
    def parse(cls, metadata: ModelMetadata) -> Self | None:
        """From what EFQ's service says; None for a server that says none of it. Raises InputError for what is wrong."""
        found = metadata.parameters
        if "model_sha256" not in found or "interface" not in found or len(metadata.outputs) != 1:
            return None
        sizes = metadata.outputs[0].shape
        contract = {key.removeprefix(_CONTRACT): value for key, value in found.items() if key.startswith(_CONTRACT)}
        try:
            return cls(
                contract=InputContract.from_dict(contract),
                interface=Interface.parse(text_of(found["interface"], "an interface")),
                model=EmbeddingModel(
                    sha256=found["model_sha256"], name=metadata.name, embedding_size=(sizes or (None,))[-1] or 0
                ),
            )
        except (SchemaError, UsageError) as error:
            message = f"expected parameters of a model of EFQ's service, found others: {str(error)[:300]}"
            raise InputError(message) from error

    def input_spec(self, *, name: str, batch: int | None, most_images: int) -> TensorSpec:
        """Of a batch that is fed. batch: of one size; None for any."""
        datatype = "FP32" if self.interface.is_float else "UINT8"
        shape = self.interface.image_shape(self.contract)
        size = DATATYPES[datatype].itemsize * shape[0] * shape[1] * shape[2]
        return TensorSpec(name=name, datatype=datatype, shape=(batch, *shape), most_bytes=size * most_images)

    def output_spec(self, *, name: str, images: int) -> TensorSpec:
        """Of what comes back for that many images."""
        size = self.model.embedding_size
        return TensorSpec(name=name, datatype="FP32", shape=(images, size), most_bytes=4 * size * images)


def _ports(values: Mapping[str, Any], key: str) -> tuple[Port, ...]:
    found = values.get(key)
    if not isinstance(found, list) or not 0 < len(found) <= _MOST_TENSORS:
        message = f"expected 1 to {_MOST_TENSORS} {key} of a model, found {type(found).__name__}"
        raise InputError(message)
    return tuple(map(Port.parse, found))


def _texts(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = values.get(key) or []
    if not isinstance(found, list) or len(found) > _MOST_TENSORS:
        message = f"expected at most {_MOST_TENSORS} {key} of a server, found {type(found).__name__}"
        raise InputError(message)
    return tuple(text_of(one, f"one of {key}") for one in found)
