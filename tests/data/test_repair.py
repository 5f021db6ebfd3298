"""A repaired copy of annotations, and what changed."""

from pathlib import Path

import numpy as np
import orjson

from annotated import SIZE, annotated, block
from somaseg.annotations.read import inspect_annotations
from somaseg.data.check import check
from somaseg.data.repair import left_out, repair, write_repaired


def test_repair(tmp_path: Path) -> None:
    ring = block(10, 10, 15, 15) & ~block(12, 12, 13, 14)
    full = block(10, 10, 15, 15)
    path = annotated(tmp_path, block(1, 1, 3, 3), np.zeros(SIZE, bool), ring, full, block(1, 1, 3, 3), block(30, 0, 40, 60))
    file = path / "annotations.json"
    data = orjson.loads(file.read_bytes())
    broken = {**data["annotations"][0], "segmentation": {"size": [60, 80], "counts": "0P"}}
    beyond = {**data["annotations"][0], "segmentation": [[70, 1, 99, 1, 99, 9, 70, 9]], "bbox": [70, 1, 29, 8]}
    data["annotations"] += [broken, beyond, {**broken, "image_id": 9}, {**data["annotations"][2], "category_id": 9}]
    file.write_bytes(orjson.dumps(data))
    result = check(path)
    samples, changes = repair(result.samples, result.problems)
    assert [(c.action, c.image, c.index) for c in changes] == [
        ("kept aside: unknown image", None, None),
        ("dropped: empty", "a", 1),
        ("holes filled", "a", 2),
        ("dropped: duplicate", "a", 3),
        ("dropped: duplicate", "a", 4),
        ("kept aside: unreadable", "a", 6),
        ("cut off at the border", "a", 7),
        ("box corrected", "a", 7),
        ("dropped: duplicate", "a", 8),
    ]
    assert all(change.found for change in changes)
    assert [aside["annotation"] for aside in left_out(result.problems)] == [{**broken, "image_id": 9}, broken]
    expected = np.stack([block(1, 1, 3, 3), full, block(30, 0, 40, 60), block(1, 70, 9, 80)])
    np.testing.assert_array_equal(samples[0].instances.to_masks(), expected)


def test_a_cell_with_pixels_is_never_lost(tmp_path: Path) -> None:
    file = annotated(tmp_path, *[block(1, n * 9 + 1, 4, n * 9 + 6) for n in range(8)]) / "annotations.json"
    data = orjson.loads(file.read_bytes())
    cells = data["annotations"]
    cells[0]["category_id"], cells[1]["image_id"], cells[2]["score"] = "1", "1.0", None
    cells[3]["category_id"], cells[4]["bbox"], cells[5]["id"] = [4], ["x"], 1
    cells[6]["segmentation"] = [[60, 1, 66, 1, 66, 9], [1, 2], None]
    cells[7]["image_id"] = 77
    file.write_bytes(orjson.dumps(data))
    result = check(tmp_path)
    samples, changes = repair(result.samples, result.problems)
    assert [(c.action, c.index) for c in changes] == [
        ("kept aside: unknown image", None),
        ("score set to 1", 2),
        ("class set to unknown", 3),
        ("box corrected", 4),
        ("bad piece left out", 6),
        ("bad piece left out", 6),
    ]
    written = write_repaired(samples, tmp_path / "fixed", changes, left_out(result.problems))
    data = orjson.loads(written.read_bytes())
    assert [entry["action"] for entry in data["info"]["changes"]] == [c.action for c in changes]
    assert [entry["annotation"] for entry in data["left_out"]] == [cells[7]]
    again, problems = inspect_annotations(written)
    assert (len(again[0].instances), problems) == (7, [])


def test_an_ignored_region_without_a_mask_is_kept_aside(tmp_path: Path) -> None:
    file = annotated(tmp_path, block(1, 1, 4, 6), block(9, 1, 14, 6)) / "annotations.json"
    data = orjson.loads(file.read_bytes())
    data["annotations"][1] |= {"iscrowd": 1, "segmentation": None}
    file.write_bytes(orjson.dumps(data))
    result = check(tmp_path)
    samples, changes = repair(result.samples, result.problems)
    assert ([c.action for c in changes], len(samples[0].ignored)) == (["kept aside: unreadable"], 0)
    assert len(left_out(result.problems)) == 1
