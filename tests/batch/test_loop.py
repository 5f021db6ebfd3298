"""What any run over files does: names, progress, failures."""

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from rich.console import Console

from blobs import CLASSES, SETTINGS, A, B, BlobSegmenter, C, blob_image
from runs import segment
from somaseg.annotations.read import read_annotations
from somaseg.batch.postprocess import postprocess_folder
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.batch.segment import predict_folder, segment_folder
from somaseg.errors import WeightsError
from somaseg.export import coco as export
from somaseg.fusion.methods import single
from somaseg.texts.tables import read_table


def read_annotations_of(out: Path) -> list[list[list[int]]]:
    return [cells.boxes.tolist() for cells in (export.cells_of(json.loads(p.read_bytes())) for p in (out / "coco").iterdir())]


def test_same_names_in_two_folders_stay_apart(tmp_path, out):
    for folder, box in (("a", A), ("b", B), ("c", C)):
        (tmp_path / folder).mkdir()
        iio.imwrite(tmp_path / folder / "x.png", blob_image(box))
    first = segment(tmp_path / "b", out)
    assert first.images == 1
    again = BlobSegmenter()
    both = segment([tmp_path / "a", tmp_path / "b", tmp_path / "c"], out, again)
    assert (both.images, both.skipped, again.calls) == (3, 1, 2)  # b/x keeps its name, x
    samples = {s.name: s.instances.boxes[0].tolist() for s in read_annotations(out)}
    assert samples == {"a/x": list(A), "b/x": list(B), "c/x": list(C)}
    table = read_table(out / "cells.csv")
    assert len(set(table["image"])) == 3
    labels = {name: tifffile.imread(out / "labels" / f"{name}_labels.tif") for name in table["image"]}
    for name, x0, y0 in zip(table["image"], table["x0"], table["y0"], strict=True):
        assert labels[name][int(y0), int(x0)] == 1
    assert segment([tmp_path / "c", tmp_path / "b", tmp_path / "a"], out).skipped == 3


def test_an_image_and_a_page_of_one_name_stay_apart(tmp_path, out):
    tifffile.imwrite(tmp_path / "x.tif", np.stack([blob_image(A), blob_image(B)]), photometric="minisblack")
    iio.imwrite(tmp_path / "x_p000.png", blob_image(C))
    assert segment(tmp_path, out).images == 3
    assert sorted(b for cells in read_annotations_of(out) for b in cells) == sorted([list(A), list(B), list(C)])


def test_the_progress_bar_shows_the_rate(images, out):
    console = Console(force_terminal=True, width=100)
    with console.capture() as capture:
        segment(images, out, console=console)
    assert "3/3" in capture.get()
    assert "/s" in capture.get()


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), ZeroDivisionError("x"), RecursionError("deep"), OSError(5, "disk")])
def test_whatever_goes_wrong_with_one_file_the_others_go_on(images, out, error):
    class Odd(BlobSegmenter):
        def predict(self, image, zoom=1.0, kept=None):
            if image.shape[0] == 30:
                raise error
            return super().predict(image, zoom, kept)

    iio.imwrite(images / "odd.png", blob_image(size=(30, 40)))
    summary = segment(images, out, Odd())
    assert summary.images == 3
    (reason,) = summary.failures.values()
    assert str(images / "odd.png") in reason
    assert "\n" not in reason
    assert ("this is a fault of somaseg" in reason) == (not isinstance(error, OSError | RuntimeError))


def test_weights_that_cannot_be_used_end_the_run(images, out):
    class Broken(BlobSegmenter):
        def predict(self, image, zoom=1.0, kept=None):
            raise WeightsError("weights.safetensors: does not fit")

    with pytest.raises(WeightsError):
        segment(images, out, Broken())


def test_what_is_left_out_stands_in_the_summary_and_in_the_manifest(images, out):
    (images / "one_cp_masks.png").write_bytes((images / "one.png").read_bytes())
    summary = segment_folder([images], out, BlobSegmenter(), SETTINGS)
    reason = "ends in _cp_masks, as files do that segmentation programs write"
    assert (summary.images, summary.left_out) == (3, {str(images / "one_cp_masks.png"): reason})
    assert json.loads((out / "run.json").read_bytes())["left_out"] == summary.left_out
    assert f"left out: {images / 'one_cp_masks.png'}: {reason}" in summary.text().splitlines()
    for number in range(12):
        (images / f"{number}_cp_masks.png").write_bytes(b"x")
    text = predict_folder([images], out.parent / "predictions", BlobSegmenter()).text()
    assert text.count("left out: ") == 11
    assert "left out: 3 more, see run.json" in text


def test_a_channel_is_chosen_and_another_one_makes_the_result_anew(tmp_path, out):
    empty = blob_image()
    channels = np.stack([empty, empty, blob_image(A, B), empty, blob_image(C)])
    description = {"axes": "CYX", "Channel": {"Name": ["a", "b", "two", "d", "one"]}}
    tifffile.imwrite(tmp_path / "five.ome.tif", channels, ome=True, photometric="minisblack", metadata=description)
    for channel, cells, skipped in ((None, 0, 0), ("two", 2, 0), ("4", 1, 0), ("4", 1, 1)):
        summary = segment_folder([tmp_path / "five.ome.tif"], out, BlobSegmenter(), SETTINGS, channel=channel)
        assert (sum(summary.cells.values()), summary.skipped) == (cells, skipped)
        assert bool(summary.warnings) == (channel is None)
        assert not summary.failures
    predict_folder([tmp_path / "five.ome.tif"], tmp_path / "predictions", BlobSegmenter(), channel="two")
    results = postprocess_folder(read_runs([tmp_path / "predictions"]), tmp_path / "later", single(SETTINGS, CLASSES))
    assert results.cells == {"round": 2, "long": 0}
    assert (tmp_path / "later" / "overlays" / "five_overlay.png").exists()


def test_the_warnings_of_a_file_are_told_with_its_image(tmp_path, out):
    pair = np.stack([blob_image(A), blob_image(B)])
    tifffile.imwrite(tmp_path / "pair.tif", pair, imagej=True, metadata={"axes": "CYX", "unit": "um"}, resolution=(2, 1))
    warnings = segment_folder([tmp_path / "pair.tif"], out, BlobSegmenter(), SETTINGS).warnings["pair"]
    assert [text for text in warnings if "has 2 channels, the first is shown" in text]
    assert [text for text in warnings if "pixels of 0.5 x 1 µm are not square" in text]
