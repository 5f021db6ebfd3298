"""Well, site and time from names as instruments write them."""

from pathlib import Path

import pytest

from somaseg.errors import InputError
from somaseg.plates.names import Place, places, row_name, well_name, well_row_column


def one(name: str, pattern: str | None = None) -> Place | None:
    """The place of a file beside another of the same folder."""
    return places([Path("/data/plate7") / name, Path("/data/plate7/other.tif")], pattern).get(Path("/data/plate7") / name)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        # Incucyte: vessel, well, image, days and hours; LIVECell's names have a number of the crop behind
        ("BV2_Phase_A4_2_01d16h00m_3.tif", Place("BV2_Phase", "A04", "2", hours=40)),
        ("VID1803_H12_9_00d02h30m.tif", Place("VID1803", "H12", "9", hours=2.5)),
        # ImageXpress: well, site, wavelength with a GUID
        ("HTS_B02_s3_w1.TIF", Place("HTS", "B02", "3")),
        ("HTS_B02_s3_w1A0F5B1C2-11D3-4E5F-8899-AABBCCDDEEFF.tif", Place("HTS", "B02", "3")),
        ("screen_P24_w2.tif", Place("screen", "P24", None)),
        ("screen_AF48_s1.tif", Place("screen", "AF48", "1")),
        # Opera Phenix and Harmony: row, column, field, plane, channel, time
        ("r02c11f05p01-ch1sk3fk1fl1.tiff", Place("plate7", "B11", "05", time_point=3)),
        # Opera: row, column and field of three digits
        ("003012004.flex", Place("plate7", "C12", "004")),
        # CellVoyager: plate, well, time, field
        (
            "AssayPlate_Greiner_#655090_D08_T0002F001L01A01Z01C01.tif",
            Place("AssayPlate_Greiner_#655090", "D08", "001", time_point=2),
        ),
        ("A1.tif", Place("plate7", "A01")),
        ("culture.tif", None),
        ("A0_s1.tif", None),
        ("A49_s1.tif", None),
    ],
)
def test_names_of_instruments(name, place):
    assert one(name) == place


def test_moments_become_hours_since_the_first_of_the_plate():
    files = [
        Path(f"/d/{plate}_A1_1_2020y03m{day}d_{hour}h30m.tif")
        for plate, day, hour in (("x", "05", "22"), ("x", "06", "04"), ("y", "07", "00"))
    ]
    assert [place.hours for place in places(files).values()] == [0, 6, 0]


def test_a_moment_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"x_A1_1_2020y13m05d_22h30m\.tif: its name tells the time 2020-13-05"):
        one("x_A1_1_2020y13m05d_22h30m.tif")


def test_folders_tell_the_time_and_the_plate():
    files = [Path(f"/d/{plate}/TimePoint_{time}/HTS_A01_s1_w1.tif") for plate in ("one", "two") for time in (1, 2)]
    found = [(place.plate, place.time_point) for place in places(files).values()]
    assert found == [("one/HTS", 1), ("one/HTS", 2), ("two/HTS", 1), ("two/HTS", 2)]
    assert (
        places([Path("/d/mine/Images/r01c01f01p01-ch1sk1fk1fl1.tiff")])[Path("/d/mine/Images/r01c01f01p01-ch1sk1fk1fl1.tiff")].plate
        == "mine"
    )


def test_a_pattern_of_ones_own():
    pattern = r"day(?P<days>\d+)/plate(?P<plate>\d)-(?P<row>[A-H])(?P<column>\d+)-f(?P<site>\d)"
    files = [Path("/d/day2/plate3-C7-f1.png"), Path("/d/day3/plate3-C7-f1.png"), Path("/d/day3/no.png")]
    assert list(places(files, pattern).values()) == [Place("3", "C07", "1", hours=48), Place("3", "C07", "1", hours=72)]
    by_number = places([Path("/d/r3_c7_t1,5.png")], r"r(?P<row>\d)_c(?P<column>\d)_t(?P<time>[\d,]+)")
    assert list(by_number.values()) == [Place("d", "C07", None, hours=1.5)]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is no regular expression"),
        (r"(?P<site>\d)", r"has the groups site, expected \(\?P<well>"),
        (r"(?P<well>\w+)(?P<colour>x)", "has the groups colour, well"),
        (r"(?P<well>xx)", r"--pattern found the well 'xx', expected one such as A01"),
        (r"(?P<well>A1)_(?P<time>\w+)", "found 'xx' for time, expected a number"),
    ],
)
def test_patterns_that_cannot_be(pattern, message):
    with pytest.raises(InputError, match=message):
        one("A1_xx.png", pattern)


def test_wells_and_their_rows():
    assert [well_name(text) for text in ("a1", "A001", " H12 ", "AF48", "AG1", "A0", "A49", "12", "")] == [
        *("A01", "A01", "H12", "AF48", None, None, None, None, None)
    ]
    assert [well_row_column(well) for well in ("A01", "H12", "Z01", "AA01", "AF48")] == [(0, 0), (7, 11), (25, 0), (26, 0), (31, 47)]
    assert [row_name(row) for row in (0, 25, 26, 31)] == ["A", "Z", "AA", "AF"]
