"""Which images a run learns from, and which it is scored on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample, with_classes
from somaseg.checkpoints.header import read_header
from somaseg.checkpoints.names import weights_path
from somaseg.config import Config, TrainedSize
from somaseg.data.groups import with_groups
from somaseg.data.splits import make_folds
from somaseg.errors import InputError, MissingExtraError
from somaseg.evaluation.map_iou import check_type_weights
from somaseg.magnification.annotated import Beside, at_own_scale, beside, measured

try:
    from pytorch_lightning.utilities import rank_zero_info
except ImportError:
    raise MissingExtraError("pytorch-lightning", "train") from None


def split(samples: list[Sample], config: Config, source: str = "--data") -> tuple[list[Sample], list[Sample]]:
    """Training and held-out samples of the run's fold; `source` is where they come from, for messages.

    Raises:
        InputError: when there is no such fold, or there are more folds than fields of view.
    """
    cfg = config.train
    if not 0 <= cfg.fold < cfg.folds:
        raise InputError(f"train.fold: is {cfg.fold}, but train.folds is {cfg.folds}: give 0 to {cfg.folds - 1}")
    folds = make_folds(samples, cfg.folds, cfg.seed_of_folds, "train.folds", source)
    training = [s for s in samples if folds[s.name] != cfg.fold]
    held_out = [s for s in samples if folds[s.name] == cfg.fold]
    return training, held_out


def read_split(config: Config, data: Sequence[Path]) -> tuple[list[Sample], list[Sample]]:
    """Training and held-out samples of all annotations (see `read_annotations`), in the model's classes.

    Each of the annotations is split on its own, so that what is held out of it does not depend on the others: a model that was
    pre-trained on a pool has not seen what a later run on a part of the pool holds out.

    Pseudo-labelled images are never held out; they come last of the training samples, without those that show a held-out field.

    Raises:
        InputError: when annotations cannot be used or split so, a person made none of them, two of them name the same image, a
            pseudo-labelled image has no group, or when `evaluation.type_weights` does not fit the held-out images.
    """
    training: list[Sample] = []
    held_out: list[Sample] = []
    pseudo: list[Sample] = []
    for path in data:
        samples = [with_classes(s, config.model.classes) for s in read_annotations(path)]
        pseudo += require_groups([s for s in samples if s.source == "pseudo"], path)
        if annotated := [s for s in samples if s.source == "manual"]:
            parts = split(with_groups(annotated), config, str(path))
            training += parts[0]
            held_out += parts[1]
    if not (training or held_out):
        raise InputError(
            "--data: no image that a person annotated, expected some to learn from and to score on: give their annotations too"
        )
    twice = [name for name, count in Counter(s.name for s in (*training, *held_out, *pseudo)).items() if count > 1]
    if twice:
        raise InputError(f"--data: {len(twice)} images are in several annotations, such as {twice[0]}: give each image once")
    source = ", ".join(map(str, data))
    check_type_weights(config.evaluation, [sample.type_name for sample in held_out], config.model.classes, f"{source} that are held out")
    return [*training, *without_held_out_fields(pseudo, held_out)], held_out


def brought_to_size(config: Config, training: Sequence[Sample], known: TrainedSize | None = None) -> tuple[Config, str]:
    """The settings of a run with what its images say of sizes, see `at_own_scale`, and what a person should know of it.

    Args:
        config: of the run.
        training: what it learns from; pseudo-labelled images say nothing of sizes.
        known: what the weights know that it starts from; else it is read from the file that `train.init` names.
    """
    compared = compared_sizes(config, training, known)
    brought = at_own_scale(config, compared)
    if not compared.differs:
        return brought, ""
    if brought.model.detect == config.model.detect:
        return brought, f"{compared.text}: they are shown as they are"
    return brought, f"{compared.text}: the network is shown the images at {compared.zoom:.3g} of the size that those weights take"


def compared_sizes(config: Config, training: Sequence[Sample], known: TrainedSize | None = None) -> Beside:
    """How large the annotated cells are beside those that the weights know which a run starts from."""
    annotated = [sample for sample in training if sample.source == "manual"]
    found = measured([sample.instances for sample in annotated], [sample.pixel_size for sample in annotated])
    if known is None:
        drawn = config.train.init in ("imagenet", "none")
        known = TrainedSize() if drawn else read_header(weights_path(config.train.init)).config.model.trained_at
    compared = beside(found, known)
    return replace(compared, enlarged=1.0) if config.train.magnification == "off" else compared


def require_groups(pseudo: list[Sample], path: Path) -> list[Sample]:
    """The pseudo-labelled images of one annotation.

    Raises:
        InputError: when one has no group.
    """
    for sample in pseudo:
        if sample.group is None:
            raise InputError(
                f"{path}: images, group: the pseudo-labelled image {sample.name} has none, so it may show the field of a held-out one: "
                "make the pseudo-labels again with `somaseg pseudo --near ANNOTATIONS`, for all annotations of people that training gets"
            )
    return pseudo


def without_held_out_fields(pseudo: list[Sample], held_out: list[Sample]) -> list[Sample]:
    """Pseudo-labelled images without those of the field of a held-out image; tells how many these are."""
    # A group that was found in images is called by one of them; since then images may have come that gave it another name.
    shown = {sample.group for sample in held_out} | {sample.name for sample in held_out}
    kept = [sample for sample in pseudo if sample.group not in shown]
    if len(kept) < len(pseudo):
        rank_zero_info(f"left out {len(pseudo) - len(kept)} of {len(pseudo)} pseudo-labelled images: they show the field of a held-out one")
    return kept
