import csv
import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from blobs import CLASSES, SETTINGS, A, B, BlobSegmenter, C, blob_image
from runs import segment
from somaseg.annotations.read import read_annotations
from somaseg.annotations.submission import read_submission
from somaseg.config import PostprocessSettings
from somaseg.errors import InputError, OutputError
from somaseg.texts.tables import read_table


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def manifest(out: Path) -> dict:
    return json.loads((out / "run.json").read_bytes())


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in names_in(out)}


def test_a_run_leaves_every_file(images, out, tmp_path):
    summary = segment(images, out, kaggle=tmp_path / "submission.csv")
    per_image = [f"{folder}/{n}{end}" for n in ("none", "one", "three") for folder, end in FILES]
    assert names_in(out) == sorted([*per_image, *TABLES, "instances.json", "run.json"])
    assert (summary.images, summary.skipped, summary.failures, summary.warnings) == (3, 0, {}, {})
    assert summary.cells == {"round": 4, "long": 0}

    samples = {s.name: s.instances for s in read_annotations(out)}
    assert samples["three"].boxes.tolist() == [list(A), list(B), list(C)]
    assert samples["three"].labels.tolist() == [0, 0, 0]  # one class an image
    assert len(samples["none"]) == 0
    labels = tifffile.imread(out / "labels" / "three_labels.tif")
    assert [labels[y0, x0] for x0, y0, _, _ in (A, B, C)] == [1, 2, 3]
    table = read_table(out / "cells.csv")
    assert table["image"] == ["one", "three", "three", "three"]
    assert table["area"] == ["60", "60", "112", "96"]
    predictions, _ = read_submission(tmp_path / "submission.csv", dict.fromkeys(samples, (48, 64)))
    assert {name: len(cells) for name, cells in predictions.items()} == {"none": 0, "one": 1, "three": 3}


TABLES = ("cells.csv", "images.csv", *(["cells.parquet"] if find_spec("pyarrow") else []))
FILES = (("coco", ".json"), ("labels", "_labels.tif"), ("overlays", "_overlay.png"))


def test_the_manifest_tells_how_the_results_were_made(images, out):
    (images / "broken.png").write_bytes((images / "one.png").read_bytes()[:60])
    segment(images, out, BlobSegmenter(warn=True))
    told = manifest(out)
    assert told["settings"]["postprocess"] == SETTINGS.model_dump(mode="json")
    assert told["weights"] == {"name": "blobs", "sha256": "b10b"}
    in_torch = {name for name in ("torch", "torchvision", "timm") if find_spec(name)}
    assert set(told["versions"]) == {"python", "somaseg", "numpy", "onnxruntime"} | in_torch
    assert told["cells"] == {"round": 4, "long": 0}
    assert told["steps"] == {"detections": 4, **dict.fromkeys(SETTINGS.steps, 0), "cells": 4}
    assert set(told["by_image"]) == {"none", "one", "three"}
    assert told["by_image"]["three"]["file"] == str(images / "three.png")
    assert told["by_image"]["three"]["seconds"] >= 0
    assert list(told["failures"]) == [str(images / "broken.png")]
    assert told["warnings"]["one"] == ["detections reached their cap of 9"]


def test_an_unreadable_image_is_reported_and_the_rest_goes_on(images, out):
    (images / "broken.png").write_bytes((images / "one.png").read_bytes()[:60])
    (images / "cut.tif").write_bytes(b"")
    summary = segment(images, out)
    assert summary.images == 3
    assert set(summary.failures) == {str(images / "broken.png"), str(images / "cut.tif")}
    assert all(file in reason for file, reason in summary.failures.items())


def test_an_image_that_the_network_cannot_take_is_reported(images, out):
    iio.imwrite(images / "huge.png", blob_image(A, size=(50, 64)))
    summary = segment(images, out, BlobSegmenter(fail_height=50))
    assert summary.images == 3
    assert summary.failures == {str(images / "huge.png"): f"{images / 'huge.png'}: RuntimeError: out of memory"}


def test_a_file_that_needs_an_extra_is_a_failure_and_the_rest_goes_on(images, out, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    (images / "culture.czi").write_bytes(b"not looked at")
    summary = segment(images, out)
    assert summary.images == 3
    message = "bioio-czi is not installed: run  pip install 'somaseg[bioio]'"
    assert summary.failures == {str(images / "culture.czi"): f"{images / 'culture.czi'}: {message}"}


def test_what_was_measured_is_in_the_tables_and_the_summary(images, out):
    (images / "broken.png").write_bytes(b"\x89PNG broken")
    summary = segment(images, out)
    cells, tables = ({}, {})
    for name, found in (("cells.csv", cells), ("images.csv", tables)):
        with (out / name).open(newline="") as file:
            found |= {(row["image"], row.get("label")): row for row in csv.DictReader(file)}
    assert [row["intensity_mean"] for row in cells.values()] == ["200.0"] * 4
    assert [row["background"] for row in cells.values()] == ["20.0"] * 4
    assert cells["one", "1"]["path"] == str(images / "one.png")
    # boxes of 6 x 10, 14 x 8 and 6 x 16 px in an image of 64 x 48
    assert float(cells["three", "2"]["feret_max"]) == pytest.approx(np.hypot(14, 7))
    assert float(cells["three", "2"]["feret_min"]) == 8
    assert {name: row["cells"] for (name, _), row in tables.items()} == {"none": "0", "one": "1", "three": "3", "broken": ""}
    assert float(tables["three", None]["confluence_percent"]) == pytest.approx(100 * (60 + 112 + 96) / (64 * 48))
    assert "begins like no image" in tables["broken", None]["error"]
    assert "medians: 1 cells an image, confluence 2.0 %; area of a cell 78 px" in summary.text()
    assert manifest(out)["medians"]["area"] == 78


def test_all_channels_are_measured_whichever_is_chosen(tmp_path, out):
    planes = np.stack([np.full((48, 64), 7, np.uint8), blob_image(A), np.full((48, 64), 9, np.uint8)])
    tifffile.imwrite(tmp_path / "x.ome.tif", planes, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "phase", "GFP"]}})
    assert segment(tmp_path / "x.ome.tif", out, channel="phase").failures == {}
    with (out / "cells.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[f"intensity_mean_{name}"] for name in ("DAPI", "phase", "GFP")] == ["7.0", "200.0", "9.0"]
    assert row["background_phase"] == "20.0"


def test_a_second_run_skips_what_is_done(images, out):
    segment(images, out)
    before = contents(out)
    again = BlobSegmenter()
    summary = segment(images, out, again)
    assert again.calls == 0
    assert (summary.images, summary.skipped) == (3, 3)
    after = contents(out)
    assert {n for n in after if after[n] != before[n]} == {"run.json"}


def test_what_changed_is_done_again(images, out):
    segment(images, out)
    iio.imwrite(images / "one.png", blob_image(A, B))
    os.utime(images / "three.png", (1, 1))  # a new date alone changes nothing
    for segmenter, settings, calls in (
        (BlobSegmenter(), SETTINGS, 1),
        (BlobSegmenter(sha256="other"), SETTINGS, 3),
        (BlobSegmenter(sha256="other"), PostprocessSettings(min_area={"default": 100}), 3),
    ):
        summary = segment(images, out, segmenter, settings)
        assert segmenter.calls == calls
        assert summary.skipped == 3 - calls
    assert read_table(out / "cells.csv")["area"] == ["112", "112"]


def test_without_overlay_there_is_none_and_a_later_run_draws_it(images, out):
    segment(images, out, formats=["labels"])
    assert not (out / "overlays").exists()
    again = BlobSegmenter()
    segment(images, out, again)
    assert again.calls == 3
    assert len(list((out / "overlays").iterdir())) == 3


@pytest.mark.parametrize("blocked", ["out", "out/labels", "out/coco", "submission.csv/deep.csv"])
def test_output_that_cannot_be_written_is_found_before_the_network_runs(images, out, tmp_path, blocked):
    place = tmp_path / blocked.split("/deep")[0]
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file")
    segmenter = BlobSegmenter()
    with pytest.raises(OutputError, match=f"{re.escape(str(place))}: is a file, expected a folder"):
        segment(images, out, segmenter, kaggle=tmp_path / "submission.csv" / "deep.csv" if "csv" in blocked else None)
    assert segmenter.calls == 0


def test_two_runs_into_one_folder_are_told_apart(images, out):
    class Second(BlobSegmenter):
        def predict(self, image, zoom=1.0, kept=None):
            with pytest.raises(OutputError, match="is in use by another run"):
                segment(images, out)
            return super().predict(image, zoom, kept)

    assert segment(images, out, Second()).failures == {}


def test_a_run_broken_off_loses_only_the_image_in_hand(images, out):
    with pytest.raises(KeyboardInterrupt):
        segment(images, out, BlobSegmenter(interrupt_at=3))
    assert names_in(out / "coco") == ["none.json", "one.json"]
    assert not (out / "instances.json").exists()
    again = BlobSegmenter()
    summary = segment(images, out, again)
    assert again.calls == 1
    assert (summary.images, summary.skipped) == (3, 2)
    straight = out.with_name("straight")
    segment(images, straight)
    for name in ("instances.json", "cells.csv", "labels/three_labels.tif"):
        assert (out / name).read_bytes() == (straight / name).read_bytes()


def test_each_page_of_a_stack_is_an_image(tmp_path, out):
    stack = np.stack([blob_image((4 + i, 4, 10 + i, 14)) for i in range(20)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    with pytest.raises(KeyboardInterrupt):
        segment(tmp_path / "stack.tif", out, BlobSegmenter(interrupt_at=15))
    again = BlobSegmenter()
    summary = segment(tmp_path / "stack.tif", out, again, kaggle=out / "submission.csv")
    assert again.calls == 6
    assert (summary.images, summary.skipped) == (20, 14)
    assert names_in(out / "coco") == [f"stack_p{i:03d}.json" for i in range(20)]
    samples = read_annotations(out)
    assert [s.name for s in samples] == [f"stack_p{i:03d}" for i in range(20)]
    assert [s.instances.boxes[0, 0] for s in samples] == list(range(4, 24))
    assert (out / "submission.csv").read_text().splitlines()[1].startswith("stack_p000,")


def test_kaggle_refuses_one_name_for_two_images_before_any_work(tmp_path, out):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        iio.imwrite(tmp_path / folder / "x.png", blob_image(A))
    segmenter = BlobSegmenter()
    with pytest.raises(InputError, match=r"several images are called 'x'"):
        segment([tmp_path / "a", tmp_path / "b"], out, segmenter, kaggle=tmp_path / "s.csv")
    with pytest.raises(InputError, match="is a folder"):
        segment(tmp_path / "a", out, segmenter, kaggle=tmp_path)
    assert segmenter.calls == 0


@pytest.mark.parametrize(
    ("image", "cells"),
    [
        (np.zeros((1, 1), np.uint8), 0),
        (np.full((1, 1), 255, np.uint8), 1),
        (np.zeros((30, 40), np.uint8), 0),
        (np.full((30, 40), 65535, np.uint16), 1),
        (np.full((30, 40), np.nan, np.float32), 0),
        (np.where(np.eye(30, 40) > 0, np.nan, blob_image(A, size=(30, 40))).astype(np.float32), 1),
        (np.repeat(blob_image(A)[..., None], 3, axis=2), 1),
    ],
    ids=["one dark pixel", "one bright pixel", "black", "white", "all NaN", "some NaN", "colour"],
)
def test_odd_images_give_all_their_files(tmp_path, out, image, cells):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, image)
    summary = segment(path, out, settings=PostprocessSettings(min_area={"default": 1}))
    assert summary.failures == {}
    assert sum(summary.cells.values()) == cells
    assert tifffile.imread(out / "labels" / "odd_labels.tif").shape == image.shape[:2]
    assert iio.imread(out / "overlays" / "odd_overlay.png").ndim == 3


def test_an_image_of_many_channels_is_one_with_a_warning(tmp_path, out):
    tifffile.imwrite(tmp_path / "six.tif", np.zeros((6, 30, 40), np.uint8), photometric="minisblack", metadata={"axes": "CYX"})
    summary = segment(tmp_path / "six.tif", out)
    assert summary.failures == {}
    assert summary.warnings["six"][0].startswith("has 6 channels, the first is shown")


def test_results_inside_the_folder_of_images_are_not_taken_for_images(images):
    out = images / "out"
    assert segment(images, out).images == 3
    assert segment(images, out).images == 3
    with pytest.raises(InputError, match="all images lie in"):
        segment(out / "labels", out)


def test_a_file_in_the_place_of_the_folder_is_refused(images, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: is a file, expected a folder"):
        segment(images, tmp_path / "taken")


def test_an_unknown_class_in_the_settings_is_refused_before_any_work(images, out):
    with pytest.raises(InputError, match="min_area names class 'astro', the detector knows round, long"):
        segment(images, out, settings=PostprocessSettings(min_area={"default": 1, "astro": 5}))
    assert not out.exists()


def test_overlaps_survive_in_coco_and_are_counted_in_the_label_view(tmp_path, out):
    class Overlapping(BlobSegmenter):
        def predict(self, image, zoom=1.0, kept=None):
            found = super().predict(image, zoom, kept)
            wider = found.boxes + np.array([0, 0, 3, 0], np.float32)
            return type(found)(found.size, wider, found.scores, found.labels, found.mask_probs, CLASSES)

    iio.imwrite(tmp_path / "x.png", blob_image((4, 4, 10, 14), (11, 4, 17, 14)))
    segment(
        tmp_path / "x.png", out, Overlapping(), PostprocessSettings(overlaps="keep", min_area={"default": 1}), kaggle=tmp_path / "s.csv"
    )
    assert read_annotations(out)[0].instances.area.tolist() == [90, 90]
    assert manifest(out)["by_image"]["x"]["label_pixels_lost"] == 20
    predictions, _ = read_submission(tmp_path / "s.csv", {"x": (48, 64)})
    assert predictions["x"].area.tolist() == [90, 70]
