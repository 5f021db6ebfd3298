import pytest

from somaseg.images.decoders.units import in_microns, microns_of, square


@pytest.mark.parametrize(
    ("spellings", "microns"),
    [
        (["µm", "μm", "um", "UM", "micron", "Microns", "micrometer", "micrometre", "Micrometers", "\\u00B5m", " um ", "Âµm", "u"], 1.0),
        (["nm", "nanometer", "Nanometres", "NM"], 1e-3),
        (["Å", "\u212b", "A", "angstrom", "Ångström", "ångströms", "\\u00C5"], 1e-4),
        (["pm", "picometer"], 1e-6),
        (["mm", "millimeter", "millimetres", "MM"], 1e3),
        (["cm", "centimeter", "Centimetre"], 1e4),
        (["m", "meter", "metres"], 1e6),
        (["in", "inch", "inches", "Inch", '"', "in."], 25400.0),
        (["thou", "mil"], 25.4),
        (["ft", "feet"], 304800.0),
        (["pixel", "pixels", "", "reference frame", "xyz", "sec"], None),
    ],
)
def test_spellings(spellings, microns):
    for unit in spellings:
        assert microns_of(unit) == (None if microns is None else pytest.approx(microns)), unit


@pytest.mark.parametrize("value", ["", "NaN", "inf", "-1", "0", None, "one", 0, "1e400"])
def test_what_is_no_length(value):
    assert in_microns(value, "µm") is None


def test_lengths():
    assert in_microns("0.0001", "in") == pytest.approx(2.54)
    assert in_microns(650, "nm") == pytest.approx(0.65)


def test_square():
    assert square(0.5, 0.5) == (0.5, ())
    assert square(0.5, 0.5001) == (0.5, ())
    assert square(0.5, None) == (0.5, ())
    assert square(None, 0.5) == (None, ())
    edge, (warning,) = square(0.5, 1.0)
    assert edge is None
    assert "0.5 x 1 µm are not square" in warning
