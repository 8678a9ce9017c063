"""config.pbtxt of Triton Inference Server, in protobuf's text format.

Fields and types: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | bool | Word | Sequence[Value] | Mapping[str, Value]"


@dataclasses.dataclass(frozen=True)
class Word:
    """A value of an enumeration."""

    text: str


def as_pbtxt(fields: Mapping[str, Value]) -> str:
    """The message of `fields`; a list repeats its field."""
    return "".join(_lines(fields, ""))


def _lines(fields: Mapping[str, Value], indent: str) -> list[str]:
    found = []
    for name, value in fields.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, Mapping):
                found += [f"{indent}{name} {{\n", *_lines(item, indent + "  "), f"{indent}}}\n"]
            else:
                found.append(f"{indent}{name}: {_scalar(item)}\n")
    return found


def _scalar(value: Value) -> str:
    if isinstance(value, Word):
        return value.text
    return json.dumps(value)  # JSON's strings, numbers, true and false are protobuf's as well
