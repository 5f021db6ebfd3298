"""Every exporter of the table writes a file of its own, from the same record."""

import numpy as np
import pytest

from somaseg.export.formats import DEFAULT, FORMATS, RECORD
from somaseg.export.image_result import ImageResult
from somaseg.instances import Instances

FIRST, SECOND = ((2, 3, 6, 8), np.ones((5, 4), bool)), ((4, 3, 9, 8), np.ones((5, 5), bool))
LABELS = {"labels", "cellpose", "cellpose-masks", "ome-tiff", "ome-zarr"}
CELLS = Instances.build((12, 16), [FIRST, SECOND], ("cell",), scores=[0.9, 0.8])


@pytest.mark.parametrize("cells", [CELLS, CELLS[:0]], ids=["two", "none"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_a_file_for_any_cells(name, cells):
    image = np.zeros((12, 16), np.uint8)
    exported = FORMATS[name].export(ImageResult(cells, image, "a.png", page=2, pixel_size=0.5, info={"made": "by hand"}))
    assert exported.data
    assert exported.pixels_lost == (10 if name in LABELS and len(cells) else 0)  # the two share 2 x 5 pixels


def test_what_needs_no_image_is_made_without_one():
    for form in FORMATS.values():
        if not form.needs_image:
            assert form.export(ImageResult(CELLS, None, "a.png")).data


def test_no_two_formats_take_one_name_and_the_defaults_exist():
    assert len({(name, form.suffix) for name, form in FORMATS.items()}) == len(FORMATS)
    assert {RECORD, *DEFAULT} <= FORMATS.keys()
