from pathlib import Path

import numpy as np
import orjson
import pytest
from faster_coco_eval.core import mask as coco_mask

from somaseg.annotations.read import read_annotations
from somaseg.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")


@pytest.mark.parametrize("name", ["nothing", "a.txt", "."])
def test_a_path_without_annotations(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match=r"check the path|expected"):
        read_annotations(tmp_path / name)


@needs_data
def test_sartorius_reads_the_same_from_both_files() -> None:
    of_json, of_csv = read_annotations(SHARED / "sartorius"), read_annotations(SHARED / "sartorius/train.csv")
    assert len(of_json) == len(of_csv) == 419
    assert sum(len(s.instances) for s in of_json) == 35_336
    assert len({s.group for s in of_json}) == 297
    for a, b in zip(of_json, of_csv, strict=True):
        assert (a.name, a.cell_type, a.image) == (b.name, b.cell_type, b.image)
        assert a.image.is_file()
        np.testing.assert_array_equal(a.instances.boxes, b.instances.boxes)
        np.testing.assert_array_equal(a.instances.labels, b.instances.labels)
        assert all(np.array_equal(m, n) for m, n in zip(a.instances.masks, b.instances.masks, strict=True))


@needs_data
def test_livecell_as_it_is() -> None:
    samples = read_annotations(SHARED / "livecell")
    assert sum(len(s.instances) for s in samples) == 1_746
    assert {s.cell_type for s in samples} == {"A172", "BT474", "Huh7", "MCF7", "SKOV3"}
    data = orjson.loads((SHARED / "livecell/annotations.json").read_bytes())
    first = [a for a in data["annotations"] if a["image_id"] == data["images"][0]["id"]]
    expected = coco_mask.decode(coco_mask.frPyObjects([a["segmentation"][0] for a in first], 520, 704))
    np.testing.assert_array_equal(samples[0].instances.to_masks(), np.moveaxis(expected, -1, 0) == 1)
    assert samples[0].image.samefile(SHARED / "livecell/images" / data["images"][0]["file_name"])
