"""The time of a tuning trial over many images, against the same steps and score in a plain loop.

    somaseg predict IMAGES --out predictions
    python benchmarks/tune.py predictions ANNOTATIONS [--images 400] [--trials 40]

A trial of `somaseg tune` scores one choice of all thresholds on all images; the images are shared out to processes, and masks are
kept from trial to trial. The plain way is `postprocess` and `match_counts`, image by image in this process. Both score the very same
settings, in turns, and must agree. With fewer predictions than `--images` they are repeated; every copy does its own work. The settings
are those that the search tries, one after the other. What Optuna and SQLite take comes on top, and stands in a line of its own.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before NumPy loads its BLAS, here and in the processes

import numpy as np
from numpy.typing import NDArray

from somaseg.annotations.read import read_annotations
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.config import SegmentSettings
from somaseg.evaluation.map_iou import image_map_iou
from somaseg.postprocessing.steps import postprocess
from somaseg.tuning.cross_fitting import Tuning, choose, scorer_of
from somaseg.tuning.search import Studies
from somaseg.tuning.trials import Case, Scorer
from somaseg.tuning.tune import read_cases

PLAIN_EVERY = 8
"""Only every so many trials are also scored the plain way, which is slow."""


class Timed:
    """A scorer that notes its times, and those of the plain way beside it."""

    def __init__(self, scorer: Scorer, cases: Sequence[Case]) -> None:
        self.scorer, self.cases = scorer, cases
        self.seconds: list[float] = []
        self.plain: list[tuple[float, float]] = []

    def scores(self, settings: SegmentSettings, images: Sequence[int]) -> NDArray[np.float64]:
        """What the scorer gives."""
        begin = time.perf_counter()
        scores = self.scorer.scores(settings, images)
        self.seconds.append(time.perf_counter() - begin)
        if len(self.seconds) % PLAIN_EVERY == 0:
            begin = time.perf_counter()
            plain = [image_map_iou(postprocess(self.cases[i].predictions[0], settings.postprocess), self.cases[i].truth) for i in images]
            self.plain.append((time.perf_counter() - begin, self.seconds[-1]))
            assert np.allclose(plain, scores, atol=1e-9), "the two ways differ"
        return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, help="folder of `somaseg predict`")
    parser.add_argument("truth", type=Path, help="annotations of the images")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--processes", type=int, help="one a core by default")
    arguments = parser.parse_args()

    found, _ = read_cases(read_runs([arguments.predictions]), read_annotations(arguments.truth))
    cases = [found[i % len(found)] for i in range(arguments.images)]
    tuning = Tuning(cases, np.zeros(len(cases), np.int64), SegmentSettings(), arguments.trials, seed=0)
    detections = sum(len(case.predictions[0]) for case in cases)
    with tempfile.TemporaryDirectory() as folder, scorer_of(tuning, arguments.processes) as scorer:
        timed = Timed(scorer, cases)
        timed.scorer.scores(tuning.start, range(len(cases)))  # processes start and read their images
        begin = time.perf_counter()
        chosen = choose(tuning, range(len(cases)), timed, Studies(Path(folder) / "study.db", {}).open("all images"))  # type: ignore[arg-type]
        rest = (time.perf_counter() - begin - sum(timed.seconds) - sum(plain for plain, _ in timed.plain)) / arguments.trials
    plain = statistics.median(plain for plain, _ in timed.plain)
    print(f"{len(cases)} images ({len(found)} of their own), {detections} detections, {sum(len(c.truth) for c in cases)} true cells")
    median, mean = statistics.median(timed.seconds), statistics.mean(timed.seconds)
    print(f"a trial: median {median:.2f} s, mean {mean:.2f} s, and {rest:.2f} s for the search")
    print(f"plain loop: median {plain:.2f} s, {statistics.median(plain / own for plain, own in timed.plain):.1f} times as long")
    print(f"start {chosen.trials[0].score:.4f}, chosen {chosen.chosen.score:.4f}, on the images that it was chosen on")


if __name__ == "__main__":
    main()
