import sys

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgba

from somaseg import figures
from somaseg.errors import MissingExtraError
from somaseg.evaluation import panels


def test_colours_are_those_of_matplotlib():
    assert figures.rgba("#2ee6c5", 0.5) == pytest.approx(to_rgba("#2ee6c5", 0.5))
    scores = np.linspace(0, 1, 101, dtype=np.float32)
    np.testing.assert_allclose(panels._score_colours(scores), colormaps["plasma"](0.35 + 0.65 * scores.astype(float)), atol=3 / 255)
    assert panels._score_colours(np.zeros(0, np.float32)).shape == (0, 4)


def test_a_figure_without_matplotlib_names_the_extra(monkeypatch):
    assert figures.can_draw()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'somaseg\[plots\]'"):
        figures.new_figure(2, 2)
