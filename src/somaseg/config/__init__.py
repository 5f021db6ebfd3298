"""Every setting, as frozen pydantic models: a typo is an error that names the field."""

from typing import Self

from pydantic import model_validator

from somaseg.config.base import Settings, load_settings, override, update
from somaseg.config.evaluation import EvaluationSettings
from somaseg.config.fusion import FuseSettings
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
    TrainedSize,
)
from somaseg.config.postprocess import PostprocessSettings
from somaseg.config.pseudo import PseudoSettings
from somaseg.config.rounds import MemberSettings, RoundsSettings, TaskNeeds
from somaseg.config.tiles import TileSettings
from somaseg.config.training import (
    AdamWSettings,
    AugmentSettings,
    CosineSchedule,
    EdgeSettings,
    FlatSchedule,
    MultiStepSchedule,
    PasteSettings,
    PseudoTrainSettings,
    SgdSettings,
    TrainSettings,
    ZoomSettings,
)
from somaseg.config.views import MagnificationSettings, TtaSettings


class PredictSettings(Settings):
    """What `predict` can be told with `--set`: how the network sees images (`magnification`, `tta`, `tiles`), what it keeps (`detect`)."""

    magnification: MagnificationSettings = MagnificationSettings()
    tta: TtaSettings = TtaSettings()
    detect: DetectSettings = DetectSettings()
    tiles: TileSettings = TileSettings()


class SegmentSettings(PredictSettings):
    """What `segment`, `postprocess` and `fuse` can be told with `--settings` and `--set`; one file may serve all three.

    Saved predictions were made with their own `magnification`, `tta`, `detect` and `tiles`, so `postprocess` and `fuse` refuse others.
    """

    postprocess: PostprocessSettings = PostprocessSettings()
    fuse: FuseSettings = FuseSettings()


class PseudoRunSettings(SegmentSettings):
    """What `pseudo` can be told with `--settings` and `--set`."""

    pseudo: PseudoSettings = PseudoSettings()


class TuneRunSettings(SegmentSettings):
    """What `tune` can be told with `--settings` and `--set`."""

    evaluation: EvaluationSettings = EvaluationSettings()


class Config(Settings):
    """Everything of a run."""

    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()
    postprocess: PostprocessSettings = PostprocessSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _batches_count_once(self) -> Self:
        trunk = self.model.backbone.trunk
        if self.train.accumulate > 1 and isinstance(trunk, ResNeXtSettings) and trunk.norm == "BN":
            raise ValueError("train.accumulate would change the statistics of norm BN: give FrozenBN or GN, or accumulate 1")
        return self


__all__ = [
    "X152",
    "AdamWSettings",
    "AugmentSettings",
    "BackboneSettings",
    "Config",
    "CosineSchedule",
    "DetectSettings",
    "EdgeSettings",
    "EvaluationSettings",
    "FlatSchedule",
    "FuseSettings",
    "HeadSettings",
    "InputSettings",
    "MagnificationSettings",
    "MemberSettings",
    "ModelSettings",
    "MultiStepSchedule",
    "PasteSettings",
    "PostprocessSettings",
    "PredictSettings",
    "PseudoRunSettings",
    "PseudoSettings",
    "PseudoTrainSettings",
    "ResNeXtSettings",
    "RoundsSettings",
    "RpnSettings",
    "SegmentSettings",
    "Settings",
    "SgdSettings",
    "TaskNeeds",
    "TileSettings",
    "TimmSettings",
    "TrainSettings",
    "TrainedSize",
    "TtaSettings",
    "TuneRunSettings",
    "ZoomSettings",
    "load_settings",
    "override",
    "update",
]
