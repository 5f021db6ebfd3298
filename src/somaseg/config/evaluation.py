"""Settings of scores."""

from typing import Annotated

from pydantic import Field

from somaseg.config.base import Settings


class EvaluationSettings(Settings):
    """How the scores of images become one.

    Attributes:
        type_weights: proportions of the cell types in the set that the score shall stand for, in any scale, such as
            `{shsy5y: 155, astro: 131, cort: 320}`; where some of the types are absent, the others keep their proportions. Each type that
            there is needs a weight, and each name must be one of these types or a class of the model. None counts every image alike.
    """

    type_weights: dict[str, Annotated[float, Field(gt=0)]] = {}
