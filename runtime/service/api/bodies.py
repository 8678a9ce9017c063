"""What routes take, as their OpenAPI description has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel


def json_body(kind: type[BaseModel], *, images: Sequence[str] = ()) -> dict[str, Any]:
    """A request body of JSON, of a schema among the description's components; or of an image's own bytes."""
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}},
        **{name: {"schema": {"type": "string", "format": "binary"}} for name in images},
    }
    return {"requestBody": {"required": True, "content": content}}
