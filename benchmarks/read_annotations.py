"""Read annotations into samples with decoded masks, beside faster-coco-eval's COCO loader, which decodes none, in one run.

    python benchmarks/read_annotations.py ANNOTATIONS.json [--csv TRAIN.csv] [--rounds 15]

The two take turns in one process, garbage collected in between. Both run on one core, so their processor time is taken, which
other work on the machine disturbs least; the ratio is that of their fastest turns. `--csv` also times the competition's table of
the same cells.
"""

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path

from faster_coco_eval import COCO

from somaseg.annotations.read import read_annotations


def seconds(read: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    result = read()
    elapsed = time.process_time() - start
    del result
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    ways: dict[str, Callable[[], object]] = {
        "faster-coco-eval COCO(path)": lambda: COCO(str(options.annotations)),
        "somaseg read_annotations(path)": lambda: read_annotations(options.annotations),
    }
    if options.csv is not None:
        ways["somaseg read_annotations(csv)"] = lambda: read_annotations(options.csv)
    samples = read_annotations(options.annotations)
    print(f"{len(samples)} images, {sum(len(s.instances) for s in samples)} cells, fastest of {options.rounds} turns")
    del samples
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, read in ways.items():
            times[name].append(seconds(read))
    peer = min(times["faster-coco-eval COCO(path)"])
    for name, taken in times.items():
        print(f"{name:32} {min(taken):6.3f} s   ratio {min(taken) / peer:.2f}")


if __name__ == "__main__":
    main()
