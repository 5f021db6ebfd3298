"""Every setting, as frozen pydantic models: a typo is an error that names the field."""

from somaseg.config.base import Settings, load_settings, override
from somaseg.config.model import (
    X152,
    BackboneSettings,
    DetectSettings,
    HeadSettings,
    InputSettings,
    ModelSettings,
    ResNeXtSettings,
    RpnSettings,
    TimmSettings,
)
from somaseg.config.postprocess import PostprocessSettings
from somaseg.config.training import (
    AdamWSettings,
    AugmentSettings,
    CosineSchedule,
    EdgeSettings,
    FlatSchedule,
    MultiStepSchedule,
    PasteSettings,
    SgdSettings,
    TrainSettings,
    ZoomSettings,
)
from somaseg.config.views import TtaSettings


class SegmentSettings(Settings):
    """What `segment` can be told with `--set`."""

    tta: TtaSettings = TtaSettings()
    postprocess: PostprocessSettings = PostprocessSettings()


class Config(Settings):
    """Everything of a run."""

    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()
    postprocess: PostprocessSettings = PostprocessSettings()


__all__ = [
    "X152",
    "AdamWSettings",
    "AugmentSettings",
    "BackboneSettings",
    "Config",
    "CosineSchedule",
    "DetectSettings",
    "EdgeSettings",
    "FlatSchedule",
    "HeadSettings",
    "InputSettings",
    "ModelSettings",
    "MultiStepSchedule",
    "PasteSettings",
    "PostprocessSettings",
    "ResNeXtSettings",
    "RpnSettings",
    "SegmentSettings",
    "Settings",
    "SgdSettings",
    "TimmSettings",
    "TrainSettings",
    "TtaSettings",
    "ZoomSettings",
    "load_settings",
    "override",
]
