"""A culture enlarged and shrunk gives the cells of the original, by the weights that come with somaseg."""

import imageio.v3 as iio
import numpy as np
import orjson
import pytest
from PIL import Image

from somaseg.annotations.read import read_annotations
from somaseg.batch.segment import segment_folder
from somaseg.checkpoints.names import SHIPPED
from somaseg.config import MagnificationSettings
from somaseg.evaluation.matching import match_counts
from somaseg.inference.segmenter import load
from somaseg.instances import Instances
from somaseg.synth.render import SynthSettings, render

pytestmark = pytest.mark.skipif(not (SHIPPED / "default.safetensors").is_file(), reason="the default weights are not in the package yet")
SIZE = (208, 304)


@pytest.fixture(scope="module")
def segmenter():
    return load("default", device="cpu")


def cells_of(segmenter, pixels, folder, **asked):
    """The cells of an image, at the size (208, 304), by `segment`."""
    folder.mkdir()
    iio.imwrite(folder / "culture.png", pixels)
    segmenter.magnification = MagnificationSettings(**asked)
    segment_folder([folder / "culture.png"], folder / "out", segmenter, segmenter.settings, formats=("coco",))
    (sample,) = read_annotations(folder / "out")
    small = [Image.fromarray(mask).resize(SIZE[::-1], Image.Resampling.NEAREST) for mask in sample.instances.to_masks()]
    dense = np.array([np.asarray(mask) for mask in small]).reshape(-1, *SIZE)
    info = orjson.loads((folder / "out" / "coco" / "culture.json").read_bytes())["info"]
    return Instances.from_masks(dense, ("cell",)), info["zoom"]


def test_the_same_cells_at_other_sizes(segmenter, tmp_path):
    pixels = render(SynthSettings(cell_type="cort", size=SIZE, cells=14), seed=3)[0]
    original, zoom = cells_of(segmenter, pixels, tmp_path / "x1", estimate="off")
    assert zoom == 1
    assert len(original) > 5
    grey = Image.fromarray(pixels)
    for factor, how, least in ((3, Image.Resampling.BICUBIC, 0.9), (0.5, Image.Resampling.BOX, 0.7)):
        size = (round(SIZE[1] * factor), round(SIZE[0] * factor))
        asked = {"cell_diameter": segmenter.model_settings.trained_at.cell_diameter["cort"] * factor, "cell_class": "cort"}
        cells, zoom = cells_of(segmenter, np.asarray(grey.resize(size, how)), tmp_path / str(factor), **asked)
        assert zoom == pytest.approx(1 / factor)
        tp, fp, fn = (int(counts[0]) for counts in match_counts(cells, original, (0.5,)))
        assert 2 * tp / (2 * tp + fp + fn) >= least, factor


def test_zoom_one_is_what_it_always_was(segmenter):
    pixels = render(SynthSettings(cell_type="cort", size=(104, 144)), seed=1)[0]
    plain, asked = segmenter.predict(pixels), segmenter.predict(pixels, 1.0)
    for name in ("boxes", "scores", "labels", "mask_probs"):
        assert getattr(plain, name).tobytes() == getattr(asked, name).tobytes()
    assert plain.zoom == 1
