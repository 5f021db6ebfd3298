"""Segments every neuronal cell in light-microscopy images: a mask, a class and a score for each."""

from typing import TYPE_CHECKING, Any

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.batch.prediction_file import Origin, SavedPrediction, load_prediction, save_prediction
from somaseg.config import Config, PostprocessSettings
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import map_iou
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.steps import postprocess

if TYPE_CHECKING:
    from somaseg.inference.segmenter import Segmenter, load

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
        from somaseg.inference import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module 'somaseg' has no attribute {name!r}")
