"""Draws at random of what is too much to look at whole.

An even stride would draw some channels or columns only, wherever it shares a factor with the shape: of maps of 4 x 4
every fourth value is the left border.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_rows(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the `rows` (M, ...), with replacement; all of them where there are no more."""
    if rows.shape[0] <= count:
        return rows
    return rows[torch.randint(rows.shape[0], (count,), generator=generator).to(rows.device)]


def draw_values(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of `values` (any shape) and their extremes, flat and a copy; all of them where there are no more."""
    flat = values.flatten()
    if flat.numel() <= count:
        return flat.clone()
    return torch.cat([draw_rows(flat, count, generator), flat.min()[None], flat.max()[None]])
