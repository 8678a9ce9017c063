"""Write an artifact: everything beside its place first, then moved there as one folder."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
from onnx import external_data_helper

from efq.export.artifact.model_card import model_card
from efq.runtime.artifact.folder import (
    CARD_FILE,
    CERTIFICATE_FILE,
    CERTIFICATE_PAGE_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    TRAINING_DATA_FILE,
    Artifact,
    model_metadata,
    verify_checksums,
    write_checksums,
)
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.artifact.parity import UNCERTIFIED, EvaluationRecord, ParityRecord
from efq.runtime.artifact.training_data import TrainingData
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.errors import IncompatibleArtifactError, InputError, UsageError
from efq.runtime.faces.normalization import NORMALIZATIONS
from efq.runtime.files import atomic_directory, atomic_write_bytes, atomic_write_text
from efq.runtime.lineage.lineage import check_licence
from efq.runtime.probe.probe import Probe
from efq.runtime.reading import FILE_LIMIT, open_regular
from efq.runtime.targets import find_target

_PIXEL_RANGES = {
    None: "NominalRange_0_255",
    NORMALIZATIONS["0..255"]: "NominalRange_0_255",
    NORMALIZATIONS["0..1"]: "Normalized_0_1",
    NORMALIZATIONS["-1..1"]: "Normalized_1_1",
}
"""ONNX's words (https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md); it has none for other normalizations."""


def write_artifact(
    directory: Path,
    *,
    model: onnx.ModelProto | bytes,
    manifest: Manifest,
    training_hashes: Sequence[str],
    training_pixel_hashes: Sequence[str] | None = None,
    training_near_hashes: bytes | None = None,
    parity: ParityRecord | None,
    force: bool,
    probe: Probe | None = None,
    add_files: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write the artifact folder `directory`; on any failure nothing is left of it and an older one stays whole.

    Args:
        model: the network, with its weights inside; its metadata_props are added here, last.
        training_hashes: the first 16 hexadecimal digits of the SHA-256 of each image the student was trained on.
        training_pixel_hashes: those of their pixels; training_near_hashes: as `TrainingData.near`. None where they are
            not known.
        parity: the content of parity.json, or None to leave it to the benchmark (`update_parity`).
        force: replace a folder that is not empty.
        probe: that of the manifest's group.
        add_files: writes what else belongs into the folder, once the model is there.

    Raises UsageError when `directory` cannot be written or is not empty and `force` is not given, or when the licence
    drops what that of teacher or faces asks, without a reason; InputError for a model or hashes that are not what is
    asked for.
    """
    check_licence(
        manifest.licence,
        teacher=str(manifest.teacher["licence"] or ""),
        data=str(manifest.data["licence"] or ""),
        reason=manifest.origin.licence_reason,
        remedy="give the artifact what it inherits, or its lineage a licence_reason",
    )
    data = _with_metadata(model, manifest)
    card = model_card(manifest, manifest.coverage, parity)
    pixels = None if training_pixel_hashes is None else frozenset(training_pixel_hashes)
    training = TrainingData(files=frozenset(training_hashes), pixels=pixels, near=training_near_hashes)
    training_data = training.to_json(len(training_hashes))
    with atomic_directory(directory, force=force) as folder:
        atomic_write_bytes(folder / MODEL_FILE, data)
        atomic_write_text(folder / MANIFEST_FILE, manifest.to_json())
        if parity is not None:
            atomic_write_text(folder / PARITY_FILE, parity.to_json())
        atomic_write_text(folder / TRAINING_DATA_FILE, training_data)
        for name, content in ({} if probe is None else probe.files()).items():
            atomic_write_bytes(folder / name, content)
        atomic_write_text(folder / CARD_FILE, card)
        add_files(folder)
        write_checksums(folder)
        _check_as_written(folder, manifest)


def update_parity(
    directory: Path,
    evaluation: EvaluationRecord,
    *,
    certificate: Certificate | None = None,
    page: str | None = None,
) -> None:
    """Replace the evaluation in parity.json, the model card's part of it and the checksums, all at once.

    The check of the export that is in parity.json stays. So does a certificate, unless there is a new one, with its
    `page` as HTML: then the reason that was given for having none goes.

    Raises IncompatibleArtifactError, SchemaError or ChecksumError when `directory` holds no sound artifact (a changed
    file must not get a new checksum), SchemaError for a certificate of another one, UsageError when it cannot be
    written.
    """
    artifact = Artifact.open(directory)
    if certificate is not None:
        artifact.check_certificate(certificate)
    manifest, found = artifact.manifest, artifact.parity() or ParityRecord()
    check = found.export_check
    if certificate is not None and check is not None:
        check = {key: value for key, value in check.items() if key != UNCERTIFIED}
    parity = dataclasses.replace(found, evaluation=evaluation, export_check=check)
    texts = {PARITY_FILE: parity.to_json()}
    texts[CARD_FILE] = model_card(manifest, manifest.coverage, parity, certificate or artifact.certificate())
    replaced = {*texts} if certificate is None else {*texts, CERTIFICATE_FILE, CERTIFICATE_PAGE_FILE}
    if certificate is not None:
        texts[CERTIFICATE_FILE] = certificate.to_json()
    if page is not None:
        texts[CERTIFICATE_PAGE_FILE] = page
    with atomic_directory(directory, force=True) as folder:
        _copy_files(directory, folder)
        verify_checksums(folder, artifact.checksums)  # what changed since must not get a new checksum
        for name in replaced:
            (folder / name).unlink(missing_ok=True)  # a link would be followed
        for name, text in texts.items():
            atomic_write_text(folder / name, text)
        write_checksums(folder)


def _copy_files(directory: Path, folder: Path) -> None:
    """All of the folder, what is not the artifact's too. Links stay links; raises UsageError where it is not done."""
    try:
        shutil.copytree(directory, folder, symlinks=True, copy_function=_copy_file, dirs_exist_ok=True)
    except OSError as error:
        message = f"cannot copy the files of {directory} beside it: {error}. Make room or check its permissions"
        raise UsageError(message) from error


def _copy_file(source: str, place: str) -> None:
    expected = "a file to keep"
    with (
        open_regular(Path(source), limit=FILE_LIMIT, expected=expected, error_class=UsageError) as file,
        Path(place).open("wb") as copy,
    ):
        shutil.copyfileobj(file, copy)
    shutil.copystat(source, place)


def onnx_metadata(manifest: Manifest) -> dict[str, str]:
    """The metadata_props of model.onnx: ONNX's standard keys for images, then EFQ's contract."""
    surface = manifest.surface
    pixel_range = _PIXEL_RANGES.get(surface.normalization)
    return {
        "Image.BitmapPixelFormat": f"{surface.color_order.capitalize()}8",
        "Image.ColorSpaceGamma": "SRGB",
        **({} if pixel_range is None else {"Image.NominalPixelRange": pixel_range}),
        "model_author": f"efq {importlib.metadata.version('efq')}",
        "model_license": manifest.licence,
        **model_metadata(manifest),
        "efq.target": manifest.target,
        "efq.bits": json.dumps(dict(manifest.bits), sort_keys=True),
        **_lineage_metadata(manifest),
        "efq.l2_normalized": json.dumps(manifest.l2_normalized),
    }


def _lineage_metadata(manifest: Manifest) -> dict[str, str]:
    origin = manifest.origin
    known = {
        "efq.teacher_sha256": manifest.teacher["sha256"],
        "efq.teacher_licence": manifest.teacher["licence"],
        "efq.teacher_provenance": origin.teacher_provenance,
        "efq.data_licence": manifest.data["licence"],
        "efq.code_licence": origin.code_licence,
        "efq.student_sha256": origin.student_sha256,
        "efq.licence_reason": origin.licence_reason,
        "efq.recipe": manifest.recipe.get("name"),
    }
    return {key: str(value) for key, value in known.items() if value}


def _with_metadata(model: onnx.ModelProto | bytes, manifest: Manifest) -> bytes:
    """The model's bytes with its metadata; the caller's model is left as it is."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(model if isinstance(model, bytes) else model.SerializeToString())
    except Exception as error:  # protobuf's DecodeError is not typed
        message = f"expected the bytes of an ONNX model, found bytes that are none ({error}). Export it again"
        raise InputError(message) from error
    external = [t.name for t in proto.graph.initializer if external_data_helper.uses_external_data(t)]
    if external:
        message = f"expected a model with its weights inside, found {external[0]!r} in another file. Load it first"
        raise InputError(message)
    metadata = onnx_metadata(manifest)
    kept = {prop.key: prop.value for prop in proto.metadata_props if prop.key not in metadata}
    onnx.helper.set_model_props(proto, kept | metadata)
    return bytes(proto.SerializeToString())


def _check_as_written(folder: Path, manifest: Manifest) -> None:
    """Open what is on the disk as a user would. Raises IncompatibleArtifactError or its kinds."""
    artifact = Artifact.open(folder)
    artifact.probe()
    find_target(manifest.target).check_model(artifact.model_bytes(), artifact.model_path)
    found = {prop.key: prop.value for prop in onnx.load(artifact.model_path).metadata_props}
    artifact.check_model_metadata(found)
    lost = [key for key, value in onnx_metadata(manifest).items() if found.get(key) != value]
    if lost:
        message = f"expected the metadata {', '.join(lost)} in {MODEL_FILE} after writing, found none. Export it again"
        raise IncompatibleArtifactError(message)
