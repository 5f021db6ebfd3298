from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from annotated import SIZE, annotated, block
from somaseg.annotations.read import inspect_annotations
from somaseg.data.check import check, straight_run
from somaseg.instances import Instances


def found(path: Path) -> list[tuple[str, int | None]]:
    return [(p.kind, p.index) for p in check(path).problems]


def test_sound_annotations_have_no_problem(tmp_path: Path) -> None:
    assert found(annotated(tmp_path, block(5, 5, 9, 9), block(8, 8, 12, 14))) == []


def test_each_problem_of_a_mask(tmp_path: Path) -> None:
    ring = block(10, 10, 15, 15) & ~block(12, 12, 13, 14)
    masks = [block(1, 1, 3, 3), ring, block(1, 1, 3, 3), np.zeros(SIZE, bool), block(30, 10, 33, 60), block(40, 10, 43, 59)]
    path = annotated(tmp_path, *masks, labels=[0, 0, 1, 0, 0, 0])
    result = check(path)
    assert [(p.kind, p.index) for p in result.problems] == [("hole", 1), ("duplicate mask", 2), ("empty mask", 3), ("straight cut", 4)]
    assert "2 pixels" in result.problems[0].message
    assert "cell 0 exactly, as astro instead of shsy5y" in result.problems[1].message
    assert "50 pixels" in result.problems[3].message


@pytest.mark.parametrize(
    ("mask", "run"),
    [
        (block(0, 0, 9, 70), 70),
        (block(0, 0, 60, 70), 0),
        (block(51, 0, 60, 70), 70),
        (block(20, 0, 30, 49), 0),
        (block(20, 0, 30, 80), 80),
        (block(20, 0, 60, 60) | block(10, 60, 60, 80), 60),
        (block(20, 0, 60, 60) | block(10, 30, 60, 80), 50),
    ],
)
def test_straight_runs_inside_the_image(mask: np.ndarray, run: int) -> None:
    instances = Instances.from_masks(mask[None], ("cell",))
    assert straight_run(instances.masks[0], instances.boxes[0].tolist(), SIZE) == run


def test_boxes_beyond_the_image(tmp_path: Path) -> None:
    file = annotated(tmp_path, *[block(1, n, 4, n + 2) for n in range(5)]) / "annotations.json"
    data = orjson.loads(file.read_bytes())
    boxes = [[78, 2, 3, 4], [78, 2, 4, 4], [-2, 0, 4, 4], [2, 2, -1, 3], None]
    for annotation, bbox in zip(data["annotations"], boxes, strict=True):
        annotation["bbox"] = bbox
    del data["annotations"][4]["bbox"]
    file.write_bytes(orjson.dumps(data))
    assert found(tmp_path) == [("box outside image", 1), ("box outside image", 2), ("box outside image", 3)]
    assert "bbox: found [78, 2, 4, 4], expected [x, y, width, height] inside 80 x 60" in check(tmp_path).problems[0].message


def test_image_files(tmp_path: Path) -> None:
    image = annotated(tmp_path, block(1, 1, 3, 3)) / "images/a.png"
    Image.new("L", (81, 60)).save(image)
    assert "81 x 60 pixels, its annotation says 80 x 60" in check(tmp_path).problems[0].message
    image.write_bytes(image.read_bytes()[:40])
    assert found(tmp_path) == [("unreadable image", None)]
    image.unlink()
    assert found(tmp_path) == [("missing image", None)]


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")
def test_livecell_is_sound() -> None:
    assert inspect_annotations(SHARED / "livecell")[1] == []
    assert found(SHARED / "livecell") == []
