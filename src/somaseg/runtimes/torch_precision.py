"""In which number format networks of torch compute."""

import torch


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 natively; a processor that does not is many times slower in it than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """Compute in bfloat16 where that is safe, if it is wanted and the device is fast at it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16 and bf16_is_fast(device))
