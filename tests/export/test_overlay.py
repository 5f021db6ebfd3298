import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from somaseg.export import legend
from somaseg.export import overlay as module
from somaseg.export.image_result import ImageResult
from somaseg.export.overlay import overlay, overlay_file
from somaseg.images.regions import shrink
from somaseg.images.regions.lazy import LazyImage
from somaseg.instances import Instances
from two_cells import CLASSES


def grey(size: tuple[int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(100, 10, size).astype(np.float32)


def square(labels: list[int]) -> Instances:
    boxes = [(10, 10, 30, 30), (60, 40, 80, 60)]
    return Instances.build((80, 100), [(b, np.ones((20, 20), bool)) for b in boxes], CLASSES, labels, [1.0, 1.0])


def colour_of(picture: NDArray[np.uint8], x: int, y: int) -> NDArray[np.int64]:
    """The most coloured pixel of a small window."""
    window = picture[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).astype(np.int64)
    return window[np.ptp(window, axis=1).argmax()]


def test_overlay_draws_outlines_and_leaves_the_inside_grey():
    picture = np.asarray(overlay(grey((80, 100)), square([0, 0]), numbers=False))
    assert picture.shape == (80 * 4 + 40, 420, 3)
    inside = picture[60:100, 60:100].astype(int)
    assert np.ptp(inside, axis=2).max() == 0
    assert np.ptp(colour_of(picture, 40, 80)) > 150


def test_overlay_colours_differ_by_class():
    picture = np.asarray(overlay(grey((80, 100)), square([0, 1])))
    assert np.abs(colour_of(picture, 40, 80) - colour_of(picture, 240, 200)).max() > 100


def test_overlay_colours_of_touching_cells_differ():
    boxes = [(10, 10, 30, 30), (30, 10, 50, 30)]
    two = Instances.build((80, 100), [(b, np.ones((20, 20), bool)) for b in boxes], CLASSES)
    picture = np.asarray(overlay(grey((80, 100)), two))
    assert np.abs(colour_of(picture, 40, 80) - colour_of(picture, 200, 80)).max() > 100


@pytest.mark.parametrize(
    ("size", "expected"), [((1, 1), (420, 44)), ((300, 600), (1200, 640)), ((1100, 30), (420, 1140)), ((20, 5000), (4096, 56))]
)
def test_overlay_of_odd_sizes(size, expected):
    one = Instances.build(size, [((0, 0, 1, 1), np.ones((1, 1), bool))], ("cell",))
    assert overlay(np.zeros(size, np.float32), one).size == expected
    assert overlay(np.zeros(size, np.float32), Instances.empty(size, ("cell",))).size == expected


def test_overlay_png_is_a_png():
    exported = overlay_file(ImageResult(square([0, 0]), grey((80, 100)), "a.png"))
    with Image.open(io.BytesIO(exported.data)) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("channels", [(), (3,)])
def test_overlay_of_an_image_that_is_read_by_region(monkeypatch, channels):
    image = np.random.default_rng(1).normal(100, 10, (400, 300, *channels)).clip(0, 255).astype(np.uint8)
    cells = Instances.build((400, 300), [((50, 60, 90, 120), np.ones((60, 40), bool))], ("cell",))
    monkeypatch.setattr(module, "ENLARGE", ())
    monkeypatch.setattr(module, "LARGEST", 250)
    monkeypatch.setattr(shrink, "STRIP", 9000)
    heights = []

    def read(box):
        x0, y0, x1, y1 = box
        heights.append(y1 - y0)
        return image[y0:y1, x0:x1]

    with Image.open(io.BytesIO(overlay_file(ImageResult(cells, image, "a.png")).data)) as picture:
        whole = np.asarray(picture).astype(int)
    lazy = LazyImage(image.shape, image.dtype, read)
    with Image.open(io.BytesIO(overlay_file(ImageResult(cells, lazy, "a.png")).data)) as picture:
        assert picture.size[1] == 250 + legend.HEIGHT
        assert np.abs(np.asarray(picture) - whole).max() <= 2
    assert heights[0] == 400  # for the levels, of an image as small as this
    assert max(heights[1:]) < 60


def test_outlines_are_drawn_some_at_a_time(monkeypatch):
    cells = square([0, 1])
    whole = np.asarray(overlay(grey((80, 100)), cells))
    monkeypatch.setattr(module, "AT_ONCE", 1)
    np.testing.assert_array_equal(np.asarray(overlay(grey((80, 100)), cells)), whole)


def test_overlay_writes_numbers_and_a_scale_bar_where_they_are_wanted():
    plain, numbered, sized = (
        np.asarray(overlay(grey((80, 100)), square([0, 0]), *given)) for given in ((None, False), (None, True), (0.5, True))
    )
    where = np.argwhere((plain != numbered).any(axis=2))
    assert (where.min(axis=0) >= 40).all()
    assert (where.max(axis=0) < (240, 320)).all()
    assert not (plain[320:] != numbered[320:]).any()
    assert (numbered[:320, :400] == sized[:320, :400]).all()
    assert (numbered[320:] != sized[320:, :420]).any()
