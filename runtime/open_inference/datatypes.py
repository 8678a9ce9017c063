"""The types of the protocol's tensors, as NumPy has them.

Table "Tensor Data Types" of the Open Inference Protocol (https://github.com/kserve/open-inference-protocol). BYTES, of
elements of any length, is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from efq.runtime.errors import InputError

DATATYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        name: np.dtype(code)
        for name, code in {
            "BOOL": "?",
            "UINT8": "u1",
            "UINT16": "<u2",
            "UINT32": "<u4",
            "UINT64": "<u8",
            "INT8": "i1",
            "INT16": "<i2",
            "INT32": "<i4",
            "INT64": "<i8",
            "FP16": "<f2",
            "FP32": "<f4",
            "FP64": "<f8",
        }.items()
    }
)
"""By the protocol's names; in binary messages their bytes are little-endian."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name. Raises InputError for a type that it has none for."""
    name = _NAMES.get(dtype.newbyteorder("<"))
    if name is None:
        message = f"expected an array of one of the types {', '.join(DATATYPES)}, found {dtype}"
        raise InputError(message)
    return name
