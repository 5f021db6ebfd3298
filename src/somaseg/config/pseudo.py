"""Settings of the screening of pseudo-labels."""

from typing import Self

from pydantic import Field, model_validator

from somaseg.config.base import AreaByClass, Probability, ProbabilityByClass, Settings


class PseudoSettings(Settings):
    """Which of the cells that models found in unlabelled images are trained on (docs/method.md, "Pseudo-labels").

    A field by class maps class names to values; `default` holds for all others, and a plain number for all.

    Attributes:
        ignore_score: a cell with a lower score is dropped, by class; no more than `accept_score`.
        accept_score: a cell with a lower score is not accepted, by class.
        accept_mask_prob: least mean mask probability over an accepted cell.
        accept_agreement: least agreement of an accepted cell: the mean over models of its largest mask IoU with a cell of the model.
        min_area: a smaller cell is dropped, in pixels at the weights' own scale, by class.
        max_area: a larger cell is not accepted, in pixels at that scale, by class; it may be several in one.
        min_cells: an image with fewer accepted cells is left out.
        max_cells: an image with more cells that are not dropped is left out.
        max_ignored_share: an image is left out when a larger share of its cells that are not dropped is ignored.
    """

    ignore_score: ProbabilityByClass = {"default": 0.15, "shsy5y": 0.05, "astro": 0.15, "cort": 0.25}
    accept_score: ProbabilityByClass = {"default": 0.5, "shsy5y": 0.3, "astro": 0.45, "cort": 0.5}
    accept_mask_prob: Probability = 0.7
    accept_agreement: Probability = 0.6
    min_area: AreaByClass = {"default": 60.0}
    max_area: AreaByClass = {"default": 20000.0}
    min_cells: int = Field(default=1, ge=1)
    max_cells: int = Field(default=1000, ge=1)
    max_ignored_share: Probability = 0.9

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        for low, high in (("ignore_score", "accept_score"), ("min_area", "max_area")):
            least, most = getattr(self, low), getattr(self, high)
            for name in sorted({*least, *most}):
                a, b = least.get(name, least["default"]), most.get(name, most["default"])
                if a > b:
                    raise ValueError(f"{low}.{name} is {a}, {high}.{name} {b}: give no more than that")
        return self
