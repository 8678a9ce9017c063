"""The routes of the page: its document at the root, its other files beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from efq.runtime.service.page.assets import INDEX, Asset, read_assets


def page_router() -> APIRouter:
    """Routes for `/` and `/page/{name}`, for GET and HEAD, that need no API key: they say nothing of who is enrolled.

    Raises UsageError for an installation without the page's files.
    """
    assets = read_assets()
    router = APIRouter(include_in_schema=False)

    for name, asset in assets.items():
        path = "/" if name == INDEX else f"/page/{name}"
        router.add_api_route(path, _route(asset), methods=["GET", "HEAD"])
    return router


def _route(asset: Asset) -> Callable[[Request], Awaitable[Response]]:
    async def file(request: Request) -> Response:
        return _response(asset, request)

    return file


def _response(asset: Asset, request: Request) -> Response:
    if asset.is_held(request.headers.get("If-None-Match")):
        return Response(status_code=304, headers=asset.headers)
    return Response(asset.content, media_type=asset.content_type, headers=asset.headers)
