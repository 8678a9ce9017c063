"""Galleries of drawn embeddings: people as directions, faces around them, by one model or by two that agree in part."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def draw_embeddings(
    people: int, each: int, *, size: int = 32, spread: float = 0.5, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(people * each, size) around a direction of each person, and whose each is; `spread` is the noise's length."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    centres = unit(generator.normal(size=(people, size)))
    noise = generator.normal(size=(len(labels), size)) * spread / size**0.5
    return unit(centres[labels] + noise), labels


def turned(
    rows: NDArray[np.float32], *, size: int | None = None, noise: float = 0.0, seed: int = 1
) -> NDArray[np.float32]:
    """What another model makes of the same faces: turned into `size` values, with noise of that length added."""
    generator = np.random.default_rng(seed)
    width = size or rows.shape[1]
    directions = np.linalg.qr(generator.normal(size=(max(width, rows.shape[1]),) * 2))[0][: rows.shape[1], :width]
    return unit(rows @ directions + generator.normal(size=(len(rows), width)) * noise / width**0.5)


def model(name: str = "old", *, size: int = 32) -> EmbeddingModel:
    """A model whose digest is of its name's first letter."""
    return EmbeddingModel(sha256=f"{ord(name[0]) % 16:x}" * 64, name=name, embedding_size=size)


def make_gallery(people: int = 8, each: int = 3, *, name: str = "old", size: int = 32, seed: int = 0) -> Gallery:
    """The faces of `networks.write_faces`, with drawn embeddings."""
    embeddings, labels = draw_embeddings(people, each, size=size, seed=seed)
    names = [f"p{label}" for label in labels]
    faces = [f"p{label}/{place % each}.png" for place, label in enumerate(labels)]
    return Gallery.of(embeddings, names, faces, GalleryRecord(model=model(name, size=size)))


def gallery_of(artifact: Path, people: int = 8, each: int = 3) -> Gallery:
    """As `make_gallery`, of an artifact's model."""
    from efq.runtime import Artifact
    from efq.runtime.gallery.models import model_of

    its = model_of(Artifact.open(artifact))
    drawn = make_gallery(people, each, size=its.embedding_size)
    return Gallery.of(drawn.embeddings, drawn.people, drawn.faces, GalleryRecord(model=its))


def write_parquet_gallery(folder: Path, gallery: Gallery) -> None:
    """The folder that efq-embed --parquet would have written of such faces, in one shard."""
    from efq.runtime import InputContract
    from efq.runtime.bulk.folder import FAILURES_KEY, BulkFolder, shard_metadata
    from efq.runtime.bulk.parquet import FaceFile, FaceRow, make_schema
    from efq.runtime.bulk.record import BulkRecord, Listing, Options, Outcome

    count, model = len(gallery), gallery.record.model
    record = BulkRecord(
        efq="0.1.0",
        model=model,
        input=InputContract(),
        options=Options(
            backend="onnxruntime",
            batch=32,
            detector=None,
            exif_orientation=None,
            shard_images=count,
            sources="0" * 64,
            take="largest",
        ),
        listing=Listing(images=count, sha256=("1" * 64,), has_people=True, has_landmarks=False, root=""),
    )
    bulk = BulkFolder(folder)
    with bulk.locked():
        bulk.begin(record)
        schema = make_schema(model.embedding_size, boxes=False, landmarks=False, metadata=shard_metadata(record, 0))
        with FaceFile.written(bulk.shard(0), schema) as file:
            faces = zip(gallery.faces.tolist(), gallery.people.tolist(), gallery.hashes.tolist(), strict=True)
            rows = [FaceRow(path=face, face=0, person=person, sha256=digest) for face, person, digest in faces]
            file.add(rows, gallery.embeddings)
            file.note(FAILURES_KEY, bulk.write_failures(0, []))
        bulk.finish(dataclasses.replace(record, outcome=Outcome(images=count, faces=count, failed=0)))
