"""How raw predictions become the cells of an image, with the settings that it depends on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from somaseg.config import FuseSettings, PostprocessSettings
from somaseg.fusion.fuse import fuse
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.steps import check_classes, postprocess_with_report


@dataclass(frozen=True)
class Method:
    """From the predictions of an image, one a model, to its cells.

    Attributes:
        settings: all that it depends on, by section, as JSON takes it.
        cells: gives the cells, and how many detections each step took away.
    """

    settings: dict[str, Any]
    cells: Callable[[Sequence[Prediction]], tuple[Instances, dict[str, int]]]


def single(postprocess: PostprocessSettings, classes: Sequence[str]) -> Method:
    """Post-processing of the prediction of one model.

    Raises:
        InputError: when the settings name an unknown class.
    """
    check_classes(postprocess, classes)
    return Method(
        {"postprocess": postprocess.model_dump(mode="json")}, lambda predictions: postprocess_with_report(predictions[0], postprocess)
    )


def fused(settings: FuseSettings, postprocess: PostprocessSettings, classes: Sequence[str]) -> Method:
    """Fusion of the predictions of several models.

    Raises:
        InputError: when the settings name an unknown class.
    """
    check_classes(postprocess, classes)
    return Method(
        {"fuse": settings.model_dump(mode="json"), "postprocess": postprocess.model_dump(mode="json")},
        lambda predictions: fuse(predictions, settings, postprocess),
    )
