"""Settings of rounds of self-training."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from somaseg.config.base import Settings
from somaseg.config.evaluation import EvaluationSettings
from somaseg.config.fusion import FuseSettings
from somaseg.config.pseudo import PseudoSettings
from somaseg.config.views import TtaSettings

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
"""Of a member, and of its folders."""


class TaskNeeds(Settings):
    """What a task needs while it runs.

    Attributes:
        cpus: processors.
        gpus: graphics cards; a share of one is allowed.
    """

    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)


class MemberSettings(Settings):
    """One model of the ensemble.

    Attributes:
        config: settings file of its first training; not needed with `weights`, which carry theirs.
        weights: trained weights, a file or a name, that stand for its first training; they must not have seen the fold.
        fold, seed: the fold that it never sees, and the seed of its training.
        overrides: assignments such as `train.steps=2000` on top of its settings.
    """

    config: Path | None = None
    weights: str | None = None
    fold: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    overrides: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.weights is None) == (self.config is None):
            raise ValueError("give config, to train the member, or weights that were trained: one of them")
        return self


class RoundsSettings(Settings):
    """Members, trained, and trained again on what they agree on in unlabelled images (docs/method.md).

    Attributes:
        annotations: of a person; see `read_annotations`.
        unlabelled: images without annotations: files, folders and globs; their names must differ.
        members: the models by name, the best first; thresholds are those of the first.
        rounds: rounds of pseudo-labels after the first training, at most; they stop when one gains no more than chance.
        tta: views in which members see unlabelled and held-out images.
        fuse: how the members become one result.
        pseudo: which fused cells of unlabelled images are trained on.
        finetune: assignments on top of each member's settings from round 1 on, such as `train.steps=1000`.
        evaluation: how the scores of held-out images become those of a round.
        train_needs, predict_needs: of one task.
        shards: tasks that share a member's unlabelled images.
        seconds_per_step, seconds_per_image: of training and of prediction, for estimates until stages have measured them.
    """

    annotations: tuple[Path, ...] = Field(min_length=1)
    unlabelled: tuple[str, ...] = ()
    members: dict[Name, MemberSettings] = Field(min_length=1)
    rounds: int = Field(default=1, ge=0)
    tta: TtaSettings = TtaSettings()
    fuse: FuseSettings = FuseSettings()
    pseudo: PseudoSettings = PseudoSettings()
    finetune: tuple[str, ...] = ()
    evaluation: EvaluationSettings = EvaluationSettings()
    train_needs: TaskNeeds = TaskNeeds()
    predict_needs: TaskNeeds = TaskNeeds()
    shards: int = Field(default=1, ge=1)
    seconds_per_step: float | None = Field(default=None, gt=0)
    seconds_per_image: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _images_for_rounds(self) -> Self:
        if self.rounds and not self.unlabelled:
            raise ValueError("unlabelled is empty: name the images that rounds label, or set rounds to 0")
        return self
