"""A finished result in other formats: from its records alone, corrected files kept, failures told."""

import json

import numpy as np
import pytest

from blobs import CLASSES
from runs import segment
from somaseg.annotations.read import read_annotations
from somaseg.batch.export import export_folder
from somaseg.errors import InputError
from somaseg.export.formats import FORMATS, RECORD


def test_every_format_is_what_a_run_writes(images, out, tmp_path):
    segment(images, out, formats=FORMATS)
    summary = export_folder(out, list(FORMATS), tmp_path / "again")
    assert (summary.images, summary.failures) == (3, {})
    for name, entry in FORMATS.items():
        for image in ("one", "three", "none"):
            file = f"{name}/{image}{entry.suffix}"
            assert (tmp_path / "again" / file).read_bytes() == (out / file).read_bytes()
    assert "wrote 3 images to" in summary.text()


def test_into_the_result_itself(images, out):
    segment(images, out)
    before = (out / "coco/three.json").read_bytes()
    assert export_folder(out, ["imagej"]).failures == {}
    assert (out / "coco/three.json").read_bytes() == before
    assert segment(images, out).skipped == 3


@pytest.mark.parametrize("form", ["imagej", "qupath"])
def test_what_was_exported_is_read_with_its_image_size_and_classes(images, out, tmp_path, form):
    segment(images, out)
    fix = tmp_path / "fix"
    export_folder(out, [form], fix)
    samples = {sample.name: sample for sample in read_annotations(fix / form)}
    truth = {sample.name: sample for sample in read_annotations(out)}
    assert samples.keys() == truth.keys() == {"one", "three", "none"}
    for name, sample in samples.items():
        assert sample.image == images / f"{name}.png"
        assert sample.instances.classes == CLASSES
        assert np.array_equal(sample.instances.to_masks(), truth[name].instances.to_masks())
        assert np.array_equal(sample.instances.labels, truth[name].instances.labels)
        np.testing.assert_allclose(sample.instances.scores, truth[name].instances.scores)


def test_a_corrected_file_is_kept_and_told(images, out, tmp_path):
    segment(images, out)
    fix = tmp_path / "fix"
    export_folder(out, ["qupath"], fix)
    assert export_folder(out, ["qupath"], fix).failures == {}
    corrected = fix / "qupath/three.geojson"
    corrected.write_text('{"type": "FeatureCollection", "features": []}')
    summary = export_folder(out, ["qupath"], fix)
    assert list(summary.failures) == [str(corrected)]
    assert "three.geojson: is there and differs, as after a correction, so it is kept: --overwrite replaces it" in summary.text()
    assert len(read_annotations(corrected)[0].instances) == 0
    assert export_folder(out, ["qupath"], fix, overwrite=True).failures == {}
    assert len(read_annotations(corrected)[0].instances) == 3


def test_one_damaged_record_and_one_image_that_is_gone_stop_nothing(images, out, tmp_path):
    segment(images, out)
    (out / "coco/one.json").write_bytes(b"{")
    (images / "three.png").write_bytes(b"changed")
    summary = export_folder(out, ["imagej", "overlays"], tmp_path / "fix")
    assert summary.images == 2
    assert len(summary.failures) == 2
    assert "one.json: cannot be read" in summary.text()
    assert "three_overlay.png: is not written, since it shows the image, which is gone or was changed" in summary.text()
    assert (tmp_path / "fix/imagej/three.zip").exists()


@pytest.mark.parametrize("junk", [[], {"info": {}}, {"info": {}, "images": [{}]}, {"info": {"made_from": 3}, "images": [{}]}])
def test_a_record_that_is_none(images, out, junk):
    segment(images, out)
    (out / "coco/one.json").write_text(json.dumps(junk))
    assert "one.json: is no record of a result" in export_folder(out, ["imagej"]).text()


def test_pixels_that_a_format_cannot_hold_are_told(images, out):
    segment(images, out)
    record = out / RECORD / "three.json"
    document = json.loads(record.read_bytes())
    document["annotations"].append(document["annotations"][0])
    record.write_text(json.dumps(document))
    assert "three_labels.tif: 60 pixels lost where cells overlap" in export_folder(out, ["labels"], out.parent / "fix").text()


def test_a_folder_that_is_no_result(images, tmp_path):
    with pytest.raises(InputError, match=r"is no result, expected coco/NAME\.json in it"):
        export_folder(images, ["imagej"])
    assert not (images / "imagej").exists()
