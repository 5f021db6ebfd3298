"""Saved predictions of unlabelled images to pseudo-labels."""

import json
from pathlib import Path

import imageio.v3 as iio
import pytest
from typer.testing import CliRunner

from blobs import BlobSegmenter, blob_image
from somaseg.annotations.read import read_annotations
from somaseg.annotations.write import write_coco
from somaseg.batch import segment
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.cli.main import app
from somaseg.config import PseudoRunSettings
from somaseg.errors import InputError
from somaseg.pseudolabels.pseudo import label_folder
from somaseg.texts.tables import read_table
from textures import sample, texture

A, B, C, SMALL = (4, 4, 12, 14), (20, 20, 34, 28), (40, 30, 50, 46), (50, 4, 53, 7)


class Fainter(BlobSegmenter):
    """Another model: the same cells, half the score from the second on."""

    def __init__(self) -> None:
        super().__init__(sha256="fa17")

    def predict(self, image, zoom=1.0, kept=None):
        found = super().predict(image, zoom, kept)
        found.scores[1:] *= 0.25
        return found


@pytest.fixture
def saved(tmp_path) -> list[Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, boxes in {"three": (A, B, C), "small": (A, SMALL), "none": ()}.items():
        iio.imwrite(folder / f"{name}.png", blob_image(*boxes))
    folders = [tmp_path / "one", tmp_path / "two"]
    for out, segmenter in zip(folders, (BlobSegmenter(), Fainter()), strict=True):
        segment.predict_folder([folder], out, segmenter)
    return folders


SET = ["postprocess.min_area=4", "pseudo.min_area=20", "postprocess.steps=[screen,paste]", "fuse.final_steps=[]"]


def test_pseudo_labels_of_a_folder(saved, tmp_path):
    runs = read_runs(saved)
    settings = runs.settings_of(PseudoRunSettings, None, SET)
    summary = label_folder(runs, tmp_path / "out", settings)
    assert (summary.images, summary.failures) == (2, {})
    assert summary.left_out == {"none": "0 cells accepted, fewer than min_cells 1"}
    samples = {one.name: one for one in read_annotations(tmp_path / "out" / "annotations.json")}
    three = samples["three"]
    assert (three.source, three.group, three.cell_type, three.image.name) == ("pseudo", None, "round", "three.png")
    rows = read_table(tmp_path / "out" / "cells.csv")
    assert set(zip(rows["image"], rows["fate"], rows["reason"], strict=True)) == {
        ("three", "accepted", None),
        ("three", "ignored", "score unsure"),
        ("small", "accepted", None),
        ("small", "dropped", "too small"),
    }
    assert three.instances.boxes.tolist() == [list(A)]
    assert sorted(three.ignored.boxes.tolist()) == sorted([list(B), list(C)])
    assert three.instances.scores.tolist() == pytest.approx([0.9])
    assert sum(sum(fates.values()) for fates in summary.cells.values()) == len(rows) == 5
    told = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert told["reasons"] == {"score unsure": 2, "too small": 1}
    assert told["groups"] == {"three": None, "small": None}
    assert {path.stem for path in (tmp_path / "out" / "pictures").iterdir()} == {"three", "small", "none"}
    before = {name: (tmp_path / "out" / name).read_bytes() for name in ("annotations.json", "cells.csv", "pictures/three.png")}
    label_folder(runs, tmp_path / "out", settings)
    assert all((tmp_path / "out" / name).read_bytes() == content for name, content in before.items())


def test_a_file_that_cannot_be_read_stops_nothing(saved, tmp_path):
    (saved[1] / "small.npz").write_bytes(b"damaged")
    (tmp_path / "images" / "none.png").unlink()
    annotated = [sample(tmp_path / "known", "far", texture(1), "1")]
    write_coco(annotated, tmp_path / "known" / "annotations.json")
    words = ["pseudo", *map(str, saved), "--out", str(tmp_path / "out"), "--near", str(tmp_path / "known")]
    result = CliRunner().invoke(app, [*words, *(word for one in SET for word in ("--set", one))])
    assert result.exit_code == 1
    assert "small.npz" in result.output
    assert "none.png is gone or was changed" in result.output
    assert "give --near" not in result.output
    assert [one.name for one in read_annotations(tmp_path / "out" / "annotations.json")] == ["three"]


def test_moved_images_are_found(saved, tmp_path):
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    runs = read_runs(saved[:1])
    settings = runs.settings_of(PseudoRunSettings, None, SET)
    summary = label_folder(runs, tmp_path / "out", settings, images=[tmp_path / "elsewhere"])
    assert (summary.images, summary.failures) == (2, {})
    assert len(summary.notes) == 2
    with pytest.raises(InputError, match="is a folder of predictions"):
        label_folder(runs, saved[0], settings)
