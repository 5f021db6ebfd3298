"""Limits before allocation, and the variables that lift them."""

from pathlib import Path

import pytest

from somaseg.errors import InputError
from somaseg.limits import MaskBudget, check_pixels, limit


def test_the_environment_lifts_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    check_pixels("x", 16_384, 16_384)
    with pytest.raises(InputError, match=r"x: 1000000 x 100000 are 100,000,000,000 pixels.*SOMASEG_MAX_PIXELS=100000000000"):
        check_pixels("x", 100_000, 1_000_000)
    monkeypatch.setenv("SOMASEG_MAX_PIXELS", "100_000_000_000")
    check_pixels("x", 100_000, 1_000_000)


@pytest.mark.parametrize("text", ["", "x", "0", "-1"])
def test_a_variable_that_is_no_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOMASEG_MAX_BYTES", text)
    with pytest.raises(InputError, match="SOMASEG_MAX_BYTES: found"):
        limit("SOMASEG_MAX_BYTES")


def test_the_budget_of_masks_grows_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMASEG_MAX_MASK_PIXELS", "1000")
    path = tmp_path / "x.json"
    path.write_bytes(b"x" * 20)
    budget = MaskBudget(path)
    budget.spend(1500)
    with pytest.raises(InputError, match=r"x\.json: its masks take more than 2,000 bytes.*SOMASEG_MAX_MASK_PIXELS"):
        budget.spend(501)
