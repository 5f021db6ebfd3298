"""The stage `finetune`: weights go on learning from a few annotated images, and are taken only where they score higher than before."""

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from somaseg.annotations.samples import Sample, classes_present
from somaseg.checkpoints.checkpoint import Checkpoint, save_checkpoint
from somaseg.checkpoints.class_heads import SCORES, adapt_classes
from somaseg.checkpoints.names import weights_path
from somaseg.classes import plain
from somaseg.config import AdamWSettings, Config, CosineSchedule, PostprocessSettings, TrainSettings, override
from somaseg.data.check import check
from somaseg.data.groups import with_groups
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import MapIou, Score, summarise
from somaseg.evaluation.matching import Record, match_counts, precision
from somaseg.files import write_whole
from somaseg.images.read import read_image
from somaseg.inference.networks import in_torch, load_whole
from somaseg.inference.segmenter import Segmenter, load
from somaseg.instances import Instances
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.runtimes.choice import choose
from somaseg.training.held_out import brought_to_size, compared_sizes, read_split
from somaseg.training.train import fit

REPORT, WEIGHTS, SPLIT = "finetune.json", "weights.safetensors", "split.json"
UNUSABLE = ("missing image", "unreadable image", "size differs")
FOLDS = 4  # a quarter of the fields of view is held out

# Few steps at a quarter of the rate of a run from ImageNet, and falling: the weights know cells and shall not forget them.
# They are scored once, after the last step: with a choice between several scores the best one would owe its place to chance.
SMALL_DATA = TrainSettings(
    steps=300,
    optimizer=AdamWSettings(rate=1e-4, warmup=30),
    schedule=CosineSchedule(),
    ema=0,
    validate_every=0,
    validate_images=1,  # `finetune` scores all of them itself
    checkpoint_minutes=1,
)


class ImageGain(Record):
    """`map_iou` of one validation image with the base weights and with the new ones."""

    image: str
    cell_type: str
    base: float
    tuned: float
    gain: float


class FinetuneResult(Record):
    """Everything that `somaseg finetune` finds, as `finetune.json` has it.

    Attributes:
        weights, weights_sha256: the base weights.
        classes: of the new weights.
        class_origin: by class of the new weights, the class of the base weights that it started from.
        training, validation: names of the images.
        steps: of the training.
        zoom: how many times larger both weights were shown the images than the base weights would have it.
        base, tuned: scores of the base weights and of the new ones on the validation images.
        gain: the difference, with an interval over images (paired bootstrap within cell types).
        images: each validation image.
        notes: what a reader of the scores must know, one sentence each.
    """

    weights: str
    weights_sha256: str
    classes: tuple[str, ...]
    class_origin: dict[str, str]
    training: tuple[str, ...]
    validation: tuple[str, ...]
    steps: int
    zoom: float
    base: MapIou
    tuned: MapIou
    gain: Score
    images: tuple[ImageGain, ...]
    notes: tuple[str, ...]

    @property
    def better(self) -> bool:
        """Whether the new weights score higher."""
        return self.gain.value > 0


def finetune(
    data: Path, out: Path, weights: str = "default", assignments: Sequence[str] = (), console: Console | None = None
) -> tuple[FinetuneResult, Path]:
    """Check annotated images, hold some out, score the weights on them, train, score again, and keep the new weights if they are better.

    Given again after it was stopped, it goes on with the training. `out` then holds `finetune.json`, `training/` (the run of
    `somaseg.training.train.fit`) and, where they are better, the new weights as `weights.safetensors`.

    Args:
        data: annotations that `read_annotations` reads, with their images.
        out: folder of the run; made if absent.
        weights: base weights: a name that comes with somaseg, or a file.
        assignments: settings other than `SMALL_DATA` and those of the base weights, such as `train.steps=600`.
        console: where to show progress; None shows none.

    Returns:
        What was found, and the file of the new weights, taken or refused.

    Raises:
        InputError: for data or weights that cannot be used, too few images, or a folder of another run.
    """
    if (out / REPORT).exists():
        raise InputError(f"{out / REPORT}: this run is finished: give another --out")
    source = weights_path(weights)
    base = load_whole(source)
    samples, notes = read_checked(data)
    config = settings(base.config, samples, assignments)
    training, validation = read_split(config, [data])
    if not any(len(sample.instances) for sample in training):
        raise InputError(
            f"{data}: no training image has a cell ({len(validation)} images are held out): annotate more, or give another --set train.fold"
        )
    run = out / "training"
    _check_split(out / SPLIT, base, training, validation)

    runtime = choose("torch")
    segmenter = Segmenter(weights, [in_torch(base, runtime)], runtime)
    sizes = compared_sizes(config, training, base.config.model.trained_at)
    told = brought_to_size(config, training, base.config.model.trained_at)[1]
    origin = class_origin(segmenter, config.model.classes, training, sizes.zoom)
    config = _with_start(base, source, config, origin, run)
    before, caught = image_precisions(segmenter, validation, "scoring the base weights", console, sizes.zoom)
    fit(config, [data], run)
    trained = run / "last.safetensors"
    after, caught_after = image_precisions(load(trained, runtime="torch"), validation, "scoring the new weights", console)

    old, new, gain, images = compared(before, after, [s.name for s in validation], [s.type_name for s in validation])
    result = FinetuneResult(
        weights=weights,
        weights_sha256=base.sha256,
        classes=config.model.classes,
        class_origin=origin,
        training=tuple(sample.name for sample in training),
        validation=tuple(sample.name for sample in validation),
        steps=config.train.steps,
        zoom=sizes.zoom,
        base=old,
        tuned=new,
        gain=gain,
        images=images,
        notes=(*notes, *([told] if told else []), *_class_notes(origin), *dict.fromkeys((*caught, *caught_after))),
    )
    return result, _kept(result, trained, out)


def read_checked(data: Path) -> tuple[list[Sample], list[str]]:
    """Samples that training can use, and what is wrong with them all the same, a line a kind.

    Raises:
        InputError: for an annotation without meaning, an image that is missing, unreadable or of another size, or data without cells.
    """
    checked = check(data)
    bad = [p for p in checked.problems if p.fatal or p.kind in UNUSABLE]
    if bad:
        more = f" ({len(bad) - 1} more like this)" if len(bad) > 1 else ""
        raise InputError(f"{bad[0].message}{more}; `somaseg data check {data}` shows all, its `--fix OUT` repairs what can be")
    if not any(len(sample.instances) for sample in checked.samples):
        raise InputError(f"{data}: has no cell in {len(checked.samples)} images: give images with annotated cells")
    kinds = Counter(p.kind for p in checked.problems)
    first = {kind: next(p.message for p in checked.problems if p.kind == kind) for kind in kinds}
    return checked.samples, [f"{number} x {kind}, such as {first[kind]}" for kind, number in kinds.items()]


def settings(base: Config, samples: Sequence[Sample], assignments: Sequence[str]) -> Config:
    """Settings of the training, the thresholds and `train.init` still to be set.

    The classes are those of the base weights where these know all cells by name, else those that the data has cells of.

    Raises:
        InputError: when the images are of fewer than two fields of view, or an assignment cannot be used.
    """
    for assignment in assignments:
        if assignment.startswith(("postprocess", "train.init")):
            raise InputError(f"--set {assignment}: cannot be set here: both weights are scored with what comes with --weights")
        if assignment.startswith("evaluation"):
            raise InputError(f"--set {assignment}: cannot be set here: both weights are scored on every validation image alike")
    annotated = [sample for sample in samples if sample.source == "manual"]
    fields = len({(sample.group is None, sample.group or sample.name) for sample in with_groups(annotated)})
    if fields < 2:
        raise InputError(
            f"--data: found {len(annotated)} image{'s' * (len(annotated) != 1)} of {fields} field of view, expected images of 2 or more, "
            "one to learn from and one to score on: annotate more (5 images are a start)"
        )
    found = {plain(name): name for sample in samples for name in classes_present(sample)}
    known = {plain(name) for name in base.model.classes}
    classes = base.model.classes if set(found) <= known else tuple(found.values())
    config = Config(
        model=base.model.model_copy(update={"classes": classes}),
        augment=base.augment,
        train=SMALL_DATA.model_copy(update={"folds": min(FOLDS, fields)}),
    )
    return override(config, assignments)


def class_origin(segmenter: Segmenter, classes: Sequence[str], samples: Sequence[Sample], zoom: float = 1.0) -> dict[str, str]:
    """For each class the class of the base weights to start from: that of the same name, else the one they take its cells for.

    Layers drawn anew would need more steps than a few images allow. Of a new class the image with most cells of it is asked.
    """
    known = {plain(name): name for name in segmenter.classes}
    origin = {}
    for number, name in enumerate(classes):
        if plain(name) in known:
            origin[name] = known[plain(name)]
            continue
        cells = [np.count_nonzero(sample.instances.labels == number) for sample in samples]
        labels = _segment(segmenter, samples[int(np.argmax(cells))], zoom)[0].labels
        origin[name] = segmenter.classes[int(np.bincount(labels, minlength=1).argmax())]
    return origin


def thresholds_for_classes(thresholds: PostprocessSettings, origin: dict[str, str]) -> PostprocessSettings:
    """Thresholds of the base weights for other classes: each has those of the class it started from."""
    by_class = {field: value for field, value in thresholds.model_dump().items() if isinstance(value, dict)}
    moved = {
        field: {"default": values["default"]} | {new: values[old] for new, old in origin.items() if old in values}
        for field, values in by_class.items()
    }
    return thresholds.model_copy(update=moved)


def adapted_model(base: Checkpoint, config: Config, origin: dict[str, str]) -> CascadeMaskRCNN:
    """The base model for the classes of `config`, each with the rows of the class that it starts from.

    Classes that start from the same one share its probability, so that none of them makes a cell of what was none.
    """
    classes = config.model.classes
    adapted = adapt_classes(base.model.state_dict(), base.config.model.classes, classes, origin)
    shares = Counter(origin[name] for name in classes)
    less = torch.tensor([math.log(shares[origin[name]]) for name in classes] + [0.0])
    state = {name: tensor - less if SCORES.search(name) and name.endswith("bias") else tensor for name, tensor in adapted.state.items()}
    model = CascadeMaskRCNN(config.model)
    model.load_state_dict(state)
    return model


def image_precisions(
    segmenter: Segmenter, samples: Sequence[Sample], what: str, console: Console | None = None, zoom: float = 1.0
) -> tuple[NDArray[np.float64], list[str]]:
    """TP / (TP + FP + FN) of each image at each IoU threshold, float64 (images, T), and the warnings there were.

    Cells match whatever their class, so that weights of other classes can be scored.
    """
    rows, caught = [], []
    shown: Iterable[Sample] = track(samples, what, console=console, disable=console is None, transient=True)
    for sample in shown:
        cells, warned = _segment(segmenter, sample, zoom)
        rows.append(precision(*match_counts(cells, sample.instances, ignored=sample.ignored)))
        caught += [f"{sample.name}: {text}" for text in warned]
    return np.array(rows), caught


def compared(
    base: NDArray[np.float64], tuned: NDArray[np.float64], names: Sequence[str], cell_types: Sequence[str]
) -> tuple[MapIou, MapIou, Score, tuple[ImageGain, ...]]:
    """Both scores, their difference, and each image, from the precision of each image at each IoU threshold, float64 (images, T)."""
    means = zip(names, cell_types, base.mean(axis=1).tolist(), tuned.mean(axis=1).tolist(), strict=True)
    images = tuple(ImageGain(image=name, cell_type=t, base=b, tuned=n, gain=n - b) for name, t, b, n in means)
    return summarise(base, cell_types), summarise(tuned, cell_types), summarise(tuned - base, cell_types).overall, images


def _segment(segmenter: Segmenter, sample: Sample, zoom: float) -> tuple[Instances, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        cells = segmenter.segment(read_image(sample.image).picture, zoom)
    return cells, [str(warning.message) for warning in caught]


def _with_start(base: Checkpoint, source: Path, config: Config, origin: dict[str, str], run: Path) -> Config:
    """The settings with where `fit` starts from, the base weights or a file in `run` with their rows for other classes, and thresholds."""
    thresholds, start = thresholds_for_classes(base.config.postprocess, origin), source
    if config.model.classes != base.config.model.classes:  # `fit` starts from a file
        start = run / "start.safetensors"
        save_checkpoint(start, adapted_model(base, config, origin), config, base.provenance | {"base_sha256": base.sha256})
    return config.model_copy(update={"train": config.train.model_copy(update={"init": str(start)}), "postprocess": thresholds})


def _kept(result: FinetuneResult, trained: Path, out: Path) -> Path:
    """Write the report and, where they are better, the new weights; returns where these are."""
    weights = out / WEIGHTS if result.better else trained
    if result.better:
        write_whole(weights, trained.read_bytes())
    write_whole(out / REPORT, (result.model_dump_json(indent=2) + "\n").encode())
    return weights


def _class_notes(origin: dict[str, str]) -> list[str]:
    renamed = [f"{new} (from {old})" for new, old in origin.items() if plain(new) != plain(old)]
    return [f"new classes, started from those that the base weights took their cells for: {', '.join(renamed)}"] if renamed else []


def _check_split(path: Path, base: Checkpoint, training: Sequence[Sample], validation: Sequence[Sample]) -> None:
    """Write what a run learns from and is scored on, or check that it is the same."""
    own = {"weights": base.sha256, "training": [s.name for s in training], "validation": [s.name for s in validation]}
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != own:
        raise InputError(f"{path}: belongs to a run with other images or base weights: give another --out, or the same to go on")
    write_whole(path, json.dumps(own, indent=1) + "\n")
