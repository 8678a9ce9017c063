"""JSON of strangers: no more than can be afforded, and nothing that two readers would read as two things."""

from __future__ import annotations

import binascii
import json
from typing import Any, NoReturn

from efq.runtime.service.errors import ApiError

_STRUCTURE = b",:[{"


def parse_json(body: bytes, *, structure: int) -> Any:
    """The value of a body in UTF-8.

    Objects with a key twice, NaN and infinities are refused, as is more `structure` (commas, colons, brackets that
    open) than that: what is parsed takes memory by these, some hundred bytes each. Raises ApiError.
    """
    found = sum(body.count(sign) for sign in _STRUCTURE)
    if found > structure:
        message = f"expected JSON of at most {structure:,} commas, colons and brackets, found {found:,}"
        raise ApiError(413, "json_too_large", message)
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 in the body, found another byte at {error.start:,}"
        raise ApiError(400, "invalid_json", message) from error
    except json.JSONDecodeError as error:
        message = f"expected JSON in the body, found at character {error.pos:,}: {error.msg}"
        raise ApiError(400, "invalid_json", message) from error
    except RecursionError as error:
        raise ApiError(400, "invalid_json", "expected JSON in the body, found it nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise ApiError(400, "invalid_json", "expected JSON in the body, found a number with too many digits") from error


def decode_base64(text: str, name: str) -> bytes:
    """The bytes of RFC 4648's base64 with its padding, and nothing else in it. Raises ApiError."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        message = f"expected base64 (RFC 4648, with padding, without line breaks or data:) in {name}, found other text"
        raise ApiError(422, "invalid_base64", message) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ApiError(400, "invalid_json", f"expected JSON in the body, found {name}, which is no number of it")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ApiError(400, "invalid_json", "expected each key of an object once in the body, found one twice")
    return found
