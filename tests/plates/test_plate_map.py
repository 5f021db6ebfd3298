from pathlib import Path

import pytest

from somaseg.errors import InputError
from somaseg.plates.plate_map import Content, PlateMap, read_plate_map, with_controls


def read(tmp_path: Path, text: str, encoding: str = "utf-8") -> PlateMap:
    (tmp_path / "map.csv").write_bytes(text.encode(encoding))
    return read_plate_map(tmp_path / "map.csv")


def test_a_map_with_doses_and_controls(tmp_path):
    found = read(tmp_path, "well,treatment,dose,control\nA1,DMSO,0,neg\nA02,drug,1e-3,\nH12,kill,5,positive\n,,,\n")
    assert found.content("any", "A01") == Content("DMSO", 0.0, "negative")
    assert found.content("any", "A02") == Content("drug", 0.001)
    assert found.content("any", "H12") == Content("kill", 5.0, "positive")
    assert found.content("any", "B01") == Content()


def test_spreadsheets_of_other_languages(tmp_path):
    found = read(tmp_path, "sep=;\r\nRow;Column;Compound;Concentration [µM]\r\nB;3;wirkstoff µ;0,5\r\n2;4;x;\r\n", "utf-16")
    assert found.wells == {("", "B03"): Content("wirkstoff µ", 0.5), ("", "B04"): Content("x")}


def test_a_map_of_several_plates(tmp_path):
    found = read(tmp_path, "plate,well,treatment\none,A1,a\ntwo,A1,b\n,A2,all\n")
    assert [found.content(plate, "A01").treatment for plate in ("one", "folder/two", "three")] == ["a", "b", ""]
    assert found.content("one", "A02").treatment == "all"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "map.csv: is empty"),
        ("a,b\n1,2\n", r"map.csv: line 1: has the columns \['a', 'b'\], expected well"),
        ("well,treatment\n", "map.csv: has no line with a well"),
        ("well,dose\nI99,1\n", "map.csv: line 2: well: found 'I99', expected one such as A01"),
        ("well,dose\nA1,1\na01,2\n", "map.csv: line 3: the well A01 stands in the map twice"),
        ("well,dose\nA1,5 µM\n", "map.csv: line 2: dose: found '5 µM', expected a number of 0 or more, without its unit"),
        ("well,dose\nA1,-1\n", "line 2: dose: found '-1'"),
        ("well,dose\nA1,nan\n", "line 2: dose: found 'nan'"),
        ("well,dose,conc\nA1,1,2\n", "has the columns 'dose' and 'conc' for dose: delete one"),
        ("well,control\nA1,maybe\n", "line 2: control: found 'maybe', expected negative, positive or nothing"),
    ],
)
def test_maps_that_cannot_be(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_controls_by_treatment_or_by_wells(tmp_path):
    found = read(tmp_path, "well,treatment\nA1,DMSO\nB1,DMSO\nC1,drug\n")
    wells = [("p", well) for well in ("A01", "B01", "C01", "D01")]
    named = with_controls(found, "dmso", "D1, C01", wells)
    assert [named.content("p", well).control for _, well in wells] == ["negative", "negative", "positive", "positive"]
    assert named.content("p", "C01").treatment == "drug"
    with pytest.raises(InputError, match="--positive: the well A01 is the other control too"):
        with_controls(found, "DMSO", "A1", wells)
    with pytest.raises(InputError, match="--negative: no well with an image has the treatment 'water'"):
        with_controls(found, "water", None, wells)
