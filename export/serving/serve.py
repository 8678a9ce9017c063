"""The way of an artifact to a server."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable
from pathlib import Path

from efq.export.serving.kind import ServingKind, ServingOptions, check_interface
from efq.export.targets.table import find_target
from efq.export.targets.target import ExportTarget
from efq.runtime.artifact.folder import MODEL_FILE, Artifact
from efq.runtime.files import refuse_inputs
from efq.runtime.targets import find_target as find_row


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingRequest:
    """What a kind lays out: a verified artifact, its target, and the options."""

    artifact: Artifact
    options: ServingOptions

    @property
    def target(self) -> ExportTarget:
        return find_target(self.artifact.manifest.target)

    @property
    def name(self) -> str:
        """Of the model, in letters that folders, URLs and every server take."""
        own = re.sub(r"[^A-Za-z0-9._-]+", "-", self.artifact.manifest.name[:128]).strip("-._")
        return self.options.name or own or "model"

    @property
    def sha256(self) -> str:
        return self.artifact.checksums[MODEL_FILE]


Writer = Callable[[ServingRequest, Path, bool], None]
"""Makes a server's files below a folder, where `force` replaces what is there under the same name.

Raises UsageError for an artifact that the server cannot serve.
"""


def serve(artifact: Path, kind: ServingKind, folder: Path, options: ServingOptions, *, force: bool = False) -> None:
    """Lay the artifact out below `folder` as the server of `kind` wants it; on a failure nothing new is there.

    Raises UsageError for an artifact that the server cannot serve or a folder that cannot be written, what
    `Artifact.open` raises for one that is not sound, InputError for a detector that is none.
    """
    opened = Artifact.open(artifact)
    request = ServingRequest(artifact=opened, options=options)
    refuse_inputs(folder / request.name, {"the artifact": artifact})
    find_row(opened.manifest.target).check_model(opened.model_bytes(), opened.model_path)
    check_interface(kind, opened.manifest.surface)
    module, _, name = kind.writer.partition(":")
    write: Writer = getattr(importlib.import_module(module), name)
    write(request, folder, force)
