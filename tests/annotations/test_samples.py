from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somaseg.annotations.samples import UNKNOWN_TYPE, Sample, with_classes
from somaseg.errors import InputError
from somaseg.instances import Instances


def sample(classes: tuple[str, ...], labels: list[int]) -> Sample:
    dense = np.zeros((len(labels), 4, 4), bool)
    dense[:, 1, 1] = True
    return Sample(Path("dish.png"), Instances.from_masks(dense, classes, labels), "dish")


def test_labels_follow_the_names():
    mapped = with_classes(sample(("glia", "neuron"), [0, 1, 1]), ("neuron", "glia", "other"))
    assert mapped.instances.labels.tolist() == [1, 0, 0]
    assert mapped.instances.classes == ("neuron", "glia", "other")
    assert mapped.cell_type == "neuron"


def test_an_image_without_cells_has_a_type_in_words_alone():
    assert sample(("glia", "neuron"), [1]).type_name == "neuron"
    none = sample(("glia",), [])
    assert (none.cell_type, none.type_name) == (None, UNKNOWN_TYPE)
    assert replace(none, cell_type="neuron").type_name == "neuron"


def test_ignored_regions_get_the_same_classes():
    given = sample(("glia", "neuron"), [0])
    assert len(given.ignored) == 0
    assert (given.ignored.size, given.ignored.classes) == ((4, 4), ("glia", "neuron"))
    other = replace(given, ignored=sample(("neuron", "debris"), [0, 0]).instances)
    mapped = with_classes(other, ("neuron", "glia"))
    assert (mapped.instances.labels.tolist(), mapped.ignored.labels.tolist()) == ([1], [0, 0])
    assert mapped.ignored.classes == ("neuron", "glia")
    with pytest.raises(InputError, match="has cells of class debris"):
        with_classes(replace(given, ignored=sample(("debris",), [0]).instances), ("neuron", "glia"))


def test_a_class_without_cells_need_not_be_known():
    assert with_classes(sample(("glia", "debris"), [0]), ("glia",)).instances.labels.tolist() == [0]


def test_a_cell_of_an_unknown_class():
    with pytest.raises(InputError, match=r"dish\.png: has cells of class debris, model\.classes are glia"):
        with_classes(sample(("glia", "debris"), [0, 1]), ("glia",))
