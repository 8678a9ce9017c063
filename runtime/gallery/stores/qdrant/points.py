"""The points of one collection: the few calls that a gallery needs, each answered once what it asks for is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from efq.runtime.errors import GalleryError, UsageError
from efq.runtime.gallery.stores.qdrant.address import Address

PAGE = "docs/gallery-servers.md"
ROWS = 1_000
"""Points that are sent, or asked for, at once."""

_AS_MUCH = 4
_TIMEOUT = 30  # seconds
_INDEXED = ("kind", "person", "face", "enrolment")


def connect(address: Address) -> QdrantClient:
    """A client, which has asked the server nothing yet; any number of threads may use it."""
    return QdrantClient(
        host=address.host,
        port=address.port,
        https=address.is_encrypted,
        api_key=address.api_key,
        timeout=_TIMEOUT,
        check_compatibility=False,
    )


class Points:
    """One collection. Every call raises GalleryError where the server fails, UsageError once closed."""

    def __init__(self, client: QdrantClient, name: str, address: Address) -> None:
        self._client: QdrantClient | None = client
        self._name = name
        self._address = address

    def close(self) -> None:
        """Later calls raise UsageError; the client is not closed."""
        self._client = None

    def is_there(self) -> bool:
        """Whether the collection exists."""
        with self._client_for("look for the gallery") as client:
            return client.collection_exists(self._name)

    def make(self, size: int) -> None:
        """Make it, for vectors of `size` values, compared by their inner product without an index: exactly."""
        with self._client_for("make the gallery") as client:
            client.create_collection(
                self._name,
                vectors_config=models.VectorParams(size=size, distance=models.Distance.DOT),
                hnsw_config=models.HnswConfigDiff(m=0),
            )
            for field in _INDEXED:
                client.create_payload_index(self._name, field, models.PayloadSchemaType.KEYWORD, wait=True)

    def write(self, points: Sequence[models.PointStruct]) -> None:
        """Add points, or replace those of the same identifier."""
        with self._client_for("write") as client:
            for start in range(0, len(points), ROWS):
                client.upsert(
                    self._name, list(points[start : start + ROWS]), wait=True, ordering=models.WriteOrdering.STRONG
                )

    def set_where(self, payload: Mapping[str, Any], condition: models.Filter) -> None:
        """Change the payload of the points for which a condition holds at that moment."""
        with self._client_for("write") as client:
            client.set_payload(
                self._name, dict(payload), points=condition, wait=True, ordering=models.WriteOrdering.STRONG
            )

    def delete(self, condition: models.Filter) -> None:
        """Delete the points for which a condition holds."""
        with self._client_for("delete") as client:
            client.delete(self._name, condition, wait=True, ordering=models.WriteOrdering.STRONG)

    def get(self, identifiers: Sequence[str], *, vectors: bool = False) -> list[models.Record]:
        """Those of the points that are there."""
        found: list[models.Record] = []
        with self._client_for("read") as client:
            for start in range(0, len(identifiers), ROWS):
                part = list(identifiers[start : start + ROWS])
                found += client.retrieve(
                    self._name, part, with_vectors=vectors, consistency=models.ReadConsistencyType.MAJORITY
                )
        return found

    def pages(self, condition: models.Filter, *, vectors: bool = False) -> Iterator[list[models.Record]]:
        """All points for which a condition holds, in the order of their identifiers."""
        offset: Any = None
        while True:
            with self._client_for("read") as client:
                page, offset = client.scroll(
                    self._name,
                    condition,
                    limit=ROWS,
                    offset=offset,
                    with_vectors=vectors,
                    consistency=models.ReadConsistencyType.MAJORITY,
                )
            yield page
            if offset is None:
                return

    def named(
        self, field: str, values: Sequence[str], condition: models.Filter, *, vectors: bool = False
    ) -> Iterator[list[models.Record]]:
        """Those of `pages` whose payload field has one of some values; all are read where that is about as much."""
        if len(values) > 1 and self.count(condition) <= _AS_MUCH * len(values):
            wanted = frozenset(values)
            for page in self.pages(condition, vectors=vectors):
                yield [point for point in page if text_of(point, field) in wanted]
        else:
            yield from self.pages(models.Filter(must=[condition, any_of(field, values)]), vectors=vectors)

    def count(self, condition: models.Filter) -> int:
        """How many points there are for which it holds."""
        with self._client_for("count") as client:
            return client.count(self._name, condition, exact=True).count

    def nearest(self, probe: NDArray[np.float32], condition: models.Filter, limit: int) -> list[models.ScoredPoint]:
        """The points of the largest inner products with (d,), in float32, compared with all."""
        with self._client_for("search") as client:
            return client.query_points(
                self._name,
                query=probe.tolist(),
                query_filter=condition,
                limit=limit,
                with_vectors=True,
                search_params=models.SearchParams(exact=True),
                consistency=models.ReadConsistencyType.MAJORITY,
            ).points

    @contextlib.contextmanager
    def _client_for(self, doing: str) -> Iterator[QdrantClient]:
        client = self._client
        if client is None:
            message = "expected an open gallery, found one that was closed; open it again"
            raise UsageError(message)
        try:
            yield client
        except UnexpectedResponse as error:
            raise self._failure(doing, f"{error.status_code} {error.reason_phrase}") from None
        except ResponseHandlingException as error:
            raise self._failure(doing, f"no answer ({type(error.source).__name__})") from None
        except (ApiException, ValueError, OSError) as error:  # local mode, and what the client cannot read
            raise self._failure(doing, type(error).__name__) from None

    def _failure(self, doing: str, found: str) -> GalleryError:
        message = (
            f"expected Qdrant ({self._address.shown}) to {doing}, found: {found}; look whether it runs, whether the "
            f"API key may do that, and into its log ({PAGE})"
        )
        return GalleryError(message)


def row_of(point: models.Record | models.ScoredPoint) -> NDArray[np.float32]:
    """A point's vector, (d,) float32, as it was written."""
    return np.array(point.vector, np.float32)


def text_of(point: models.Record | models.ScoredPoint, field: str) -> str:
    """A text of a point's payload. Raises GalleryError where there is none."""
    value = (point.payload or {}).get(field)
    if not isinstance(value, str):
        message = f"expected a text {field!r} in each point of the gallery, found none; restore the collection"
        raise GalleryError(message)
    return value


def holds(**values: str) -> list[models.Condition]:
    """Conditions that payload fields have these values."""
    return [models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in values.items()]


def any_of(field: str, values: Sequence[str]) -> models.Condition:
    """The condition that a payload field has one of some values."""
    return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))


def is_one_of(identifiers: Sequence[str]) -> models.Condition:
    """The condition that a point has one of some identifiers."""
    return models.HasIdCondition(has_id=list(identifiers))
