"""Segments every neuronal cell in light-microscopy images: a mask, a class and a score for each."""

from typing import TYPE_CHECKING, Any

from somaseg.config import Config, PostprocessSettings
from somaseg.data.annotations import read_annotations
from somaseg.data.samples import Sample
from somaseg.errors import InputError
from somaseg.instances import Instances, Prediction
from somaseg.metrics import map_iou
from somaseg.postprocess import postprocess
from somaseg.predictions import Origin, SavedPrediction, load_prediction, save_prediction

if TYPE_CHECKING:
    from somaseg.predict import Segmenter, load

__all__ = [
    "Config",
    "InputError",
    "Instances",
    "Origin",
    "PostprocessSettings",
    "Prediction",
    "Sample",
    "SavedPrediction",
    "Segmenter",
    "load",
    "load_prediction",
    "map_iou",
    "postprocess",
    "read_annotations",
    "save_prediction",
]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is asked for."""
    if name in ("Segmenter", "load"):
        from somaseg import predict

        return getattr(predict, name)
    raise AttributeError(f"module 'somaseg' has no attribute {name!r}")
