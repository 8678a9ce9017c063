"""The description of the API: what is in the routes, and the bodies that they read themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from efq.runtime.service.api.requests import REQUESTS

_TEMPLATE = "#/components/schemas/{model}"


def description_of(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1, plain values."""
    found: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    _, schemas = models_json_schema([(kind, "validation") for kind in REQUESTS], ref_template=_TEMPLATE)
    components = found.setdefault("components", {})
    components["schemas"] = dict(sorted({**components.get("schemas", {}), **schemas["$defs"]}.items()))
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for methods in found["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    found["security"] = [{"bearer": []}, {"key": []}, {}]
    return found
