"""Runs over images that are read by region, and over stacks with time and depth."""

import json

import numpy as np
import pytest
import tifffile

from blobs import CLASSES, SETTINGS, A, B, BlobSegmenter, C, blob_image
from somaseg.batch.postprocess import postprocess_folder
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.batch.segment import predict_folder, segment_folder
from somaseg.errors import InputError
from somaseg.export import coco, labels
from somaseg.fusion.methods import single
from somaseg.images.regions import lazy


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_reading_and_writing_by_region_gives_the_cells_of_the_whole(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", blob_image(A, B, C), tile=(16, 16), compression="zlib", photometric="minisblack")
    segment_folder([tmp_path / "x.tif"], tmp_path / "whole", BlobSegmenter(), SETTINGS)
    for name in ("somaseg.images.regions.lazy.WHOLE_BYTES", "somaseg.export.labels.WHOLE_PIXELS", "somaseg.export.coco.AT_ONCE"):
        monkeypatch.setattr(name, 0)
    monkeypatch.setattr(labels, "TILE", (32, 16))
    segment_folder([tmp_path / "x.tif"], tmp_path / "parts", BlobSegmenter(), SETTINGS)
    whole, parts = files(tmp_path / "whole"), files(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name in ("cells.csv", "instances.json"):
        assert whole[name] == parts[name]
    one, other = (json.loads(found["coco/x.json"]) for found in (whole, parts))
    assert one["annotations"] == other["annotations"]
    read = [tifffile.imread(tmp_path / run / "labels/x_labels.tif") for run in ("whole", "parts")]
    np.testing.assert_array_equal(*read)
    assert segment_folder([tmp_path / "x.tif"], tmp_path / "parts", BlobSegmenter(), SETTINGS).skipped == 1
    assert (lazy.WHOLE_BYTES, coco.AT_ONCE) == (0, 0)


def test_depths_are_projected_in_runs_with_and_without_a_network(tmp_path):
    empty = blob_image()
    stack = np.stack([[blob_image(A), empty, blob_image(B)], [empty, blob_image(C), empty]])
    tifffile.imwrite(tmp_path / "x.ome.tif", stack, ome=True, photometric="minisblack", metadata={"axes": "TZYX"})
    for depth, cells, names in (
        ("max", [2, 1], ["x_t000", "x_t001"]),
        ("1", [0, 1], ["x_t000", "x_t001"]),
        ("all", [1, 0, 1, 0, 1, 0], [f"x_t{t:03d}_z{z:03d}" for t in range(2) for z in range(3)]),
    ):
        saved, later = tmp_path / f"saved {depth}", tmp_path / f"later {depth}"
        predict_folder([tmp_path / "x.ome.tif"], saved, BlobSegmenter(), depth=depth)
        summary = postprocess_folder(read_runs([saved]), later, single(SETTINGS, CLASSES))
        assert not summary.failures
        assert sorted(path.name for path in (later / "overlays").iterdir()) == [f"{name}_overlay.png" for name in names]
        direct = segment_folder([tmp_path / "x.ome.tif"], tmp_path / "now", BlobSegmenter(), SETTINGS, tmp_path / "x.csv", depth=depth)
        assert (direct.images, direct.skipped) == (len(names), 0)
        assert (tmp_path / "now/instances.json").read_bytes() == (later / "instances.json").read_bytes()
        merged = json.loads((later / "instances.json").read_bytes())
        assert [image["place"] for image in merged["images"]] == [name.removeprefix("x_") for name in names]
        assert [sum(a["image_id"] == image["id"] for a in merged["annotations"]) for image in merged["images"]] == cells
        assert {line.split(",")[0] for line in (tmp_path / "x.csv").read_text().splitlines()[1:]} == set(names)


def test_a_depth_that_is_none_ends_the_run_at_once(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", blob_image(A))
    with pytest.raises(InputError, match="--z: found 'min'"):
        predict_folder([tmp_path], tmp_path / "out", BlobSegmenter(), depth="min")
    with pytest.raises(InputError, match="--z: found 'min'"):
        segment_folder([tmp_path], tmp_path / "out", BlobSegmenter(), SETTINGS, depth="min")
    assert not (tmp_path / "out").exists()
