"""When two names mean one class, and one value a class."""

import pytest

from somaseg.classes import by_class, plain
from somaseg.errors import InputError

CLASSES = ("shsy5y", "astro", "cort")


def test_by_class_falls_back_to_the_default_and_refuses_unknown_names():
    assert by_class({"default": 1.0, "astro": 3.0}, CLASSES, "min_area").tolist() == [1, 3, 1]
    with pytest.raises(InputError, match=r"postprocess\.min_area names class 'asto', the detector knows shsy5y, astro, cort"):
        by_class({"default": 1.0, "asto": 3.0}, CLASSES, "postprocess.min_area")


def test_names_are_matched_by_letters_and_digits():
    assert plain("SH-SY5Y") == plain("shsy5y") == "shsy5y"
    assert plain("Neuron (type 1)") != plain("neuron type 2")
