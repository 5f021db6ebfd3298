"""Scores of settings on images in memory, again and again: what stays the same is done once, and processes share the images.

A trial runs the steps of `postprocess` and `fuse` themselves. Only masks are kept from trial to trial: a detection's mask depends
on nothing but the mask threshold, so those of all detections that a trial may let pass are pasted once for each such threshold.
"""

import itertools
import multiprocessing
import os
import signal
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from somaseg.classes import by_class
from somaseg.config import SegmentSettings
from somaseg.errors import InputError
from somaseg.evaluation.matching import match_counts, precision
from somaseg.fusion.fuse import fuse_members, parted_steps, rescored
from somaseg.fusion.methods import Method, fused, single
from somaseg.instances import Instances, Prediction
from somaseg.postprocessing.candidates import Candidates
from somaseg.postprocessing.steps import READS, SINGLE, run_steps
from somaseg.tuning.thresholds import TUNABLE

Question = Literal["scores", "precisions"]
Answer = dict[int, NDArray[np.float64]]

KEPT = 6
"""How many mask thresholds the masks of an image are kept for: the search returns to few, and memory is finite."""
IMAGES_A_PROCESS = 16
"""With fewer images a process is not worth its start."""


@dataclass(frozen=True, eq=False)
class Case:
    """An image to score settings on.

    Attributes:
        name: of the image.
        predictions: one a model.
        truth: its cells.
        cell_type: of the truth.
        ignored: regions of the truth that may be cells or not, or None.
    """

    name: str
    predictions: tuple[Prediction, ...]
    truth: Instances
    cell_type: str
    ignored: Instances | None = None


class CachedImage:
    """The cells of one image under changing thresholds.

    Args:
        predictions: one a model.
        settings: steps and methods; `cells` may be asked for other thresholds only.
        floor: least score of a detection whose mask is kept, by class; settings that let worse ones pass are tried without what is kept.
    """

    def __init__(self, predictions: Sequence[Prediction], settings: SegmentSettings, floor: Mapping[str, float]) -> None:
        members = [Candidates.from_prediction(prediction) for prediction in predictions]
        self._fuses = len(members) > 1
        members = rescored(members, settings.fuse) if self._fuses else members
        steps = parted_steps(settings.fuse)[0] if self._fuses else settings.postprocess.steps
        first = tuple(itertools.takewhile(lambda name: not TUNABLE.intersection(READS[name]), steps))  # these stay the same
        self._members = [run_steps(member, first, settings.postprocess)[0] for member in members]
        self._steps, self._floor = steps[len(first) :], floor
        to_masks = self._steps[: self._steps.index("paste") + 1] if "paste" in self._steps else ()
        self._to_masks = to_masks if set(to_masks) <= set(SINGLE) else ()
        self._kept: OrderedDict[tuple[float, ...], list[Candidates]] = OrderedDict()

    def cells(self, settings: SegmentSettings) -> Instances:
        """The cells that `postprocess` or `fuse` finds with these settings."""
        members, steps = self._members, self._steps
        if self._to_masks and self._is_above_floor(settings):
            members, steps = self._with_masks(settings), tuple(name for name in steps if name != "paste")
        members = [run_steps(member, steps, settings.postprocess)[0] for member in members]
        found = fuse_members(members, settings.fuse, settings.postprocess)[0] if self._fuses else members[0]
        return found.to_instances()

    def _is_above_floor(self, settings: SegmentSettings) -> bool:
        asked = by_class(settings.postprocess.score_thresh, self._members[0].classes, "postprocess.score_thresh")
        return bool((asked >= by_class(self._floor, self._members[0].classes, "floor")).all())

    def _with_masks(self, settings: SegmentSettings) -> list[Candidates]:
        classes, thresholds = self._members[0].classes, settings.postprocess.mask_thresh
        labels = np.unique(np.concatenate([member.labels for member in self._members]))
        key = tuple(thresholds.get(classes[label], thresholds["default"]) for label in labels)
        if key not in self._kept:
            low = settings.postprocess.model_copy(update={"score_thresh": self._floor})
            pasted = [run_steps(member, self._to_masks, low)[0] for member in self._members]
            # Probabilities are many times as large as masks, and each step would copy them.
            needed = settings.postprocess.overlaps == "probability"
            self._kept[key] = pasted if needed else [replace(member, soft=None) for member in pasted]
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


class Scorer:
    """Scores of settings on images.

    A context manager: at its end the processes end.

    Args:
        cases: the images.
        settings: steps and methods; others may differ from them in thresholds only.
        floor: see `CachedImage`.
        processes: among which the images are shared out; None takes one a core, fewer for few images; 1 is this one.
    """

    def __init__(self, cases: Sequence[Case], settings: SegmentSettings, floor: Mapping[str, float], processes: int | None = None) -> None:
        count = processes or max(1, min(os.cpu_count() or 1, len(cases) // IMAGES_A_PROCESS))
        # Images with many detections take longest; dealt out by their number all processes get the same.
        order = sorted(range(len(cases)), key=lambda i: -sum(map(len, cases[i].predictions)))
        self._owned = [order[number::count] for number in range(count)]
        shares = [_Share({i: cases[i] for i in owned}, settings, floor) for owned in self._owned]
        self._shares: list[_Share | _Remote] = list(shares) if count == 1 else [_Remote(share) for share in shares]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for share in self._shares:
            share.close()

    def scores(self, settings: SegmentSettings, images: Sequence[int]) -> NDArray[np.float64]:
        """`image_map_iou` of each of these images (n,), with what is kept from trial to trial."""
        return self._gathered("scores", settings, images)

    def precisions(self, settings: SegmentSettings, images: Sequence[int]) -> NDArray[np.float64]:
        """TP / (TP + FP + FN) of each of these images at each threshold (n, T), by `postprocess` or `fuse` from raw predictions."""
        return self._gathered("precisions", settings, images)

    def _gathered(self, what: Question, settings: SegmentSettings, images: Sequence[int]) -> NDArray[np.float64]:
        wanted = set(images)
        for share, owned in zip(self._shares, self._owned, strict=True):
            share.ask(what, settings, [i for i in owned if i in wanted])
        answers: Answer = {}
        errors: list[Exception] = []
        for share in self._shares:  # all of them, also after an error: the next answers must be those to the next question
            answer = share.answer()
            if isinstance(answer, Exception):
                errors.append(answer)
            else:
                answers.update(answer)
        if errors:
            raise errors[0]
        return np.array([answers[i] for i in images])


class _Share:
    """The images of one process, by number."""

    def __init__(self, cases: Mapping[int, Case], settings: SegmentSettings, floor: Mapping[str, float]) -> None:
        self.cases, self.settings, self.floor = cases, settings, floor
        self._images: dict[int, CachedImage] = {}
        self._answer: Answer = {}

    def ask(self, what: Question, settings: SegmentSettings, images: Sequence[int]) -> None:
        score = self._score if what == "scores" else self._precision
        self._answer = {i: score(i, settings) for i in images}

    def answer(self) -> Answer:
        return self._answer

    def close(self) -> None:
        self._images.clear()

    def _score(self, i: int, settings: SegmentSettings) -> NDArray[np.float64]:
        case = self.cases[i]
        if i not in self._images:
            self._images[i] = CachedImage(case.predictions, self.settings, self.floor)
        return np.asarray(precision(*match_counts(self._images[i].cells(settings), case.truth, ignored=case.ignored)).mean())

    def _precision(self, i: int, settings: SegmentSettings) -> NDArray[np.float64]:
        case = self.cases[i]
        cells, _ = method(settings, len(case.predictions), case.truth.classes).cells(case.predictions)
        return precision(*match_counts(cells, case.truth, ignored=case.ignored))


class _Remote:
    """A share in a process of its own."""

    def __init__(self, share: _Share) -> None:
        # A fresh process, as a forked one would inherit half of what threads were doing.
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, share), daemon=True)
        self._process.start()
        there.close()

    def ask(self, what: Question, settings: SegmentSettings, images: Sequence[int]) -> None:
        self._here.send((what, settings, images))

    def answer(self) -> Answer | Exception:
        try:
            answer: Answer | Exception = self._here.recv()
        except (EOFError, ConnectionError):
            return InputError("a process that scores images ended, perhaps for lack of memory: give fewer --processes or fewer images")
        return answer

    def close(self) -> None:
        self._here.close()
        self._process.join()


def method(settings: SegmentSettings, models: int, classes: Sequence[str]) -> Method:
    """What the settings do with the predictions of so many models."""
    return single(settings.postprocess, classes) if models == 1 else fused(settings.fuse, settings.postprocess, classes)


def _serve(connection: Connection, share: _Share) -> None:
    """Answer questions until the other side closes; Ctrl-C is for the other side to act upon."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            question = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            share.ask(*question)
            connection.send(share.answer())
        except Exception as error:  # whatever it is, it is raised where the question came from
            connection.send(error)
