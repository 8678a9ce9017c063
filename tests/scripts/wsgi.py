"""What a WSGI server preloads: `EFQ_ARTIFACT=ARTIFACT EFQ_BACKEND=auto gunicorn --preload wsgi:application`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from servers import answer, open_used

EMBEDDER = open_used(os.environ["EFQ_ARTIFACT"], os.environ["EFQ_BACKEND"])


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answers the bytes of faces with those of their embeddings."""
    found = answer(EMBEDDER, environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    start_response("200 OK", [("Content-Length", str(len(found)))])
    return [found]
