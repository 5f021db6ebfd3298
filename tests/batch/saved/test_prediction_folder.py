"""The run of `predict` and its folder."""

import json
from pathlib import Path

import imageio.v3 as iio
import pytest

from blobs import BlobSegmenter, C, blob_image, write_mixed_images
from somaseg.batch import segment
from somaseg.batch.saved.prediction_file import load_prediction


@pytest.fixture
def images(tmp_path) -> Path:
    return write_mixed_images(tmp_path / "images")


def test_predict_saves_each_image(images, saved, tmp_path):
    files = {path.name for path in saved.iterdir() if path.name != ".lock"}
    stack = {f"stack_z{page:03d}.npz" for page in range(3)}
    assert files == {"none.npz", "one.npz", "sub_one.npz", "three.npz", "run.json", *stack}
    one = load_prediction(saved / "stack_z001.npz")
    assert (one.origin.page, one.origin.pixel_size, one.origin.file) == (1, 0.5, str(images / "stack.ome.tif"))
    assert one.origin.warnings == ("detections reached their cap of 9",)
    assert one.prediction.boxes.tolist() == [[5, 4, 11, 14]]
    told = json.loads((saved / "run.json").read_bytes())
    assert (told["images"], told["skipped"], told["failures"]) == (7, 0, {})
    assert told["weights"] == {"name": "blobs", "sha256": "b10b"}
    assert told["by_image"]["stack_z002"]["page"] == 2


def test_predict_goes_on_where_it_stopped(images, tmp_path):
    saved = tmp_path / "saved"
    (images / "broken.png").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        segment.predict_folder([images], saved, BlobSegmenter(interrupt_at=3))
    again = BlobSegmenter()
    summary = segment.predict_folder([images], saved, again)
    assert (summary.images, summary.skipped, again.calls) == (7, 2, 5)
    assert set(summary.failures) == {str(images / "broken.png")}
    assert summary.text().splitlines()[-2:] == ["1 file failed, see above and run.json", f"predictions in {saved}"]
    iio.imwrite(images / "one.png", blob_image(C))
    (saved / "none.npz").write_bytes(b"damaged")
    again = BlobSegmenter()
    assert segment.predict_folder([images], saved, again).skipped == 5
    assert again.calls == 2
    other = BlobSegmenter(sha256="other")
    assert segment.predict_folder([images], saved, other).skipped == 0
    viewed = BlobSegmenter(sha256="other")
    viewed.about = {**viewed.about, "tta": {"flips": ["none", "vertical"]}}
    assert segment.predict_folder([images], saved, viewed).skipped == 0
