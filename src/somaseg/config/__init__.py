"""Every setting, as frozen pydantic models: a typo is an error that names the field."""

from somaseg.config.base import Settings, load_settings, override
from somaseg.config.model import BackboneSettings, DetectSettings, HeadSettings, ModelSettings, RpnSettings
from somaseg.config.postprocess import PostprocessSettings
from somaseg.config.training import AugmentSettings, TrainSettings


class SegmentSettings(Settings):
    """What `segment` can be told with `--set`."""

    postprocess: PostprocessSettings = PostprocessSettings()


class Config(Settings):
    """Everything of a run."""

    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()
    postprocess: PostprocessSettings = PostprocessSettings()


__all__ = [
    "AugmentSettings",
    "BackboneSettings",
    "Config",
    "DetectSettings",
    "HeadSettings",
    "ModelSettings",
    "PostprocessSettings",
    "RpnSettings",
    "SegmentSettings",
    "Settings",
    "TrainSettings",
    "load_settings",
    "override",
]
