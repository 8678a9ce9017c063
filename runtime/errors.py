"""Every error EFQ raises on purpose.

    EfqError                        exit 1   something failed
    |-- UsageError                  exit 2   an option or argument is wrong
    |-- InputError                  exit 1   an image, a folder or an array is not what was asked for
    |   `-- UnreadableImageError             an image file cannot be decoded
    |-- CheckpointError             exit 1   a checkpoint is not of the network it is said to be
    |-- LoweringError               exit 1   a network holds something that has no integer form
    |-- EngineBuildError            exit 1   TensorRT did not build an engine
    |-- GalleryError                exit 1   a database of enrolled people fails
    |-- ServerError                 exit 1   a server that computes embeddings fails, or does not answer
    |-- GateError                   exit 3   a measured figure is below what was asked
    |   |-- CoverageError                    multiply-adds run outside integer kernels
    |   |-- ParityError                      embeddings or decisions differ too much
    |   |-- LintError                        a graph has patterns its target must not be given
    |   `-- TeacherError                     a teacher does not tell people apart, or would with another input
    |-- MissingDependencyError      exit 4   an optional package is not installed
    |-- DeviceError                 exit 4   a device is not there or cannot run this
    `-- IncompatibleArtifactError   exit 5   an artifact cannot be used as it is
        |-- SchemaError                      its schema is unknown or its fields are wrong
        |-- ChecksumError                    a file is missing or was changed
        |-- ProbeError                       the probe image has another embedding than at export
        `-- EngineError                      an engine plan does not fit this TensorRT, GPU or model

A message says what was expected, what was found and what to do.
"""

from __future__ import annotations

from types import MappingProxyType


class EfqError(Exception):
    """Base of all errors of EFQ; `exit_code` is the process exit status of a command that ends with it."""

    exit_code = 1


class UsageError(EfqError):
    """An option or argument is wrong."""

    exit_code = 2


class InputError(EfqError):
    """An image, a folder or an array is not what was asked for."""


class UnreadableImageError(InputError):
    """An image file is missing or cannot be decoded."""


class CheckpointError(EfqError):
    """A checkpoint cannot be loaded or is not of the network it is said to be."""


class LoweringError(EfqError):
    """A network holds an operation that has no integer form."""


class EngineBuildError(EfqError):
    """TensorRT did not build an engine: it refused the graph, failed, crashed or was out of time."""


class GalleryError(EfqError):
    """A database of enrolled people cannot be reached, is damaged, or has no room."""


class ServerError(EfqError):
    """A server that embeddings are asked of does not answer in time, refuses, or answers what cannot be."""


class GateError(EfqError):
    """A measured figure is below what was asked."""

    exit_code = 3


class CoverageError(GateError):
    """Multiply-adds run outside integer kernels."""


class ParityError(GateError):
    """Embeddings or verification decisions differ too much from the reference."""


class LintError(GateError):
    """A graph has patterns that its target refuses, silently runs in float, silently clips, or crashes on."""


class TeacherError(GateError):
    """A teacher's embeddings are none, do not tell people apart, or would do so clearly better with another input."""


class MissingDependencyError(EfqError):
    """An optional package is not installed."""

    exit_code = 4


class DeviceError(EfqError):
    """A device is not there or cannot run what was asked."""

    exit_code = 4


class IncompatibleArtifactError(EfqError):
    """An artifact cannot be used as it is."""

    exit_code = 5


class SchemaError(IncompatibleArtifactError):
    """The schema of an artifact is unknown or its fields are wrong."""


class ChecksumError(IncompatibleArtifactError):
    """A file of an artifact is missing or its hash differs from the recorded one."""


class ProbeError(IncompatibleArtifactError):
    """The embedding of an artifact's probe image is not the one it had at export."""


class EngineError(IncompatibleArtifactError):
    """An engine plan is damaged, or was built for another TensorRT, GPU, model or other options."""


_BY_NAME = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            *(EfqError, UsageError, InputError, UnreadableImageError, CheckpointError, LoweringError),
            *(EngineBuildError, GateError, CoverageError, ParityError, LintError, TeacherError),
            *(MissingDependencyError, DeviceError, GalleryError, ServerError),
            *(IncompatibleArtifactError, SchemaError, ChecksumError, ProbeError, EngineError),
        )
    }
)


def error_class(name: str) -> type[EfqError]:
    """The class of that name, as another process of EFQ told it; EfqError for a name that is not above."""
    return _BY_NAME.get(name, EfqError)
