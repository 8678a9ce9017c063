"""Where bfloat16 is faster than float32."""

from __future__ import annotations

from typing import Any

import torch


def bfloat16_where_fast(device: torch.device, *, wanted: bool) -> torch.autocast:
    """Autocast to bfloat16 when `wanted` and `device` multiplies it in hardware, else a context that does nothing.

    Measured on a CPU with avx512_bf16: convolutions, forward and backward, 2 to 2.5 times as fast as in float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and _is_fast(device))


def _is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 has none
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
