"""Names of people and faces, as galleries hold them."""

from __future__ import annotations

from efq.runtime.errors import InputError
from efq.runtime.gallery.gallery import LONGEST_NAME
from efq.runtime.gallery.stores.store import check_name
from efq.runtime.service.errors import ApiError


def check_person(name: str) -> str:
    """A name, of a person or a face. Raises ApiError for one that none can have."""
    try:
        return check_name(name, "person")
    except InputError as error:
        message = f"expected a name of 1 to {LONGEST_NAME} characters on one line, none of them of control"
        raise ApiError(422, "invalid_name", message) from error
