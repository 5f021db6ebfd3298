"""Segments every neuronal cell in light-microscopy images: a mask, a class and a score for each."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from somaseg.annotations.read import read_annotations
    from somaseg.annotations.samples import Sample
    from somaseg.batch.saved.prediction_file import Origin, SavedPrediction, load_prediction, save_prediction
    from somaseg.config import Config, PostprocessSettings
    from somaseg.errors import InputError
    from somaseg.evaluation.map_iou import map_iou
    from somaseg.inference.segmenter import Segmenter, load
    from somaseg.instances import Instances, Prediction
    from somaseg.postprocessing.steps import postprocess

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

# Where each stands: a program pays for the libraries of what it uses, and for torch only when it asks for a model.
PLACES = {
    "Config": "config",
    "InputError": "errors",
    "Instances": "instances",
    "Origin": "batch.saved.prediction_file",
    "PostprocessSettings": "config",
    "Prediction": "instances",
    "Sample": "annotations.samples",
    "SavedPrediction": "batch.saved.prediction_file",
    "Segmenter": "inference.segmenter",
    "load": "inference.segmenter",
    "load_prediction": "batch.saved.prediction_file",
    "map_iou": "evaluation.map_iou",
    "postprocess": "postprocessing.steps",
    "read_annotations": "annotations.read",
    "save_prediction": "batch.saved.prediction_file",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
