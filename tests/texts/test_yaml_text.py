"""YAML of settings."""

import pytest

from somaseg.texts.yaml_text import parse_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{before}'] * 9)}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_plain_values() -> None:
    assert parse_yaml("a: [1, 2.5, x]\nb: &x {c: true}\nd: *x\n") == {"a": [1, 2.5, "x"], "b": {"c": True}, "d": {"c": True}}
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "aliases stand for more than 100,000"),
        ("a: &a [*a]", "holds the alias itself"),
        ("a: " + "[" * 10_000, "nested too deeply"),
        ("a: " + "9" * 5000, "Exceeds the limit|integer"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "expected"),
        ("a: 2026-99-99", "month"),
        ("? [a]\n: b", "unhashable"),
        ("a" * 1_000_001, "1,000,001 characters"),
        ("a: \0", "special characters"),
        ("a: *b", "undefined alias"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)
