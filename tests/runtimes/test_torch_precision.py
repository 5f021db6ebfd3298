import pytest
import torch

from somaseg.runtimes.torch_precision import autocast, bf16_is_fast

CPU = torch.device("cpu")


@pytest.mark.parametrize(("bf16", "amx"), [(False, False), (True, False), (False, True)])
def test_bf16_is_used_where_the_processor_has_it_and_it_is_wanted(bf16, amx, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert bf16_is_fast(CPU) is (bf16 or amx)
    for wanted in (False, True):
        with autocast(CPU, wanted):
            assert torch.is_autocast_enabled("cpu") is (wanted and (bf16 or amx))
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if wanted and (bf16 or amx) else torch.float32)
