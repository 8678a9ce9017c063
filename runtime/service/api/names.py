"""Names of people and faces, as galleries hold them."""

from __future__ import annotations

import re

from efq.runtime.errors import InputError
from efq.runtime.gallery.gallery import LONGEST_NAME
from efq.runtime.gallery.stores.store import check_name
from efq.runtime.service.errors import ApiError

_REORDERS = re.compile("[\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Ends of lines and overrides of direction (Unicode, UAX 9): what follows them in a list is shown elsewhere."""


def check_person(name: str) -> str:
    """A name, of a person or a face. Raises ApiError for one that none can have."""
    try:
        return check_name(name, "person")
    except InputError as error:
        message = f"expected a name of 1 to {LONGEST_NAME} characters on one line, none of them of control"
        raise ApiError(422, "invalid_name", message) from error


def check_new_person(name: str) -> None:
    """A name that somebody is enrolled under: people can see it, and addresses can hold it. Raises ApiError.

    People of other names, from a gallery's file, are found and erased as all are.
    """
    check_person(name)
    if not name.strip() or _REORDERS.search(name):
        message = "expected as person a name that can be seen, on one line, without overrides of its direction"
        raise ApiError(422, "invalid_name", message)
    if any(part in ("", ".", "..") for part in name.split("/")):
        message = "expected as person a name that can stand in an address: no empty part, '.' or '..' between slashes"
        raise ApiError(422, "invalid_name", message)
