"""Processor time until a command has started, beside that of importing torch and timm, in turns in one run (not on Windows).

    python benchmarks/start_up.py [--rounds 5]

Each is a process of its own on one core; the least of the rounds counts, since other work on the machine only adds.
"""

import argparse
import os
import resource
import subprocess
import sys

WAYS = {
    "python, nothing": "pass",
    "somaseg --help": "from somaseg.cli.main import app; app(['--help'], standalone_mode=False)",
    "all of segment but the network": "import somaseg.cli.main, somaseg.batch.segment, somaseg.inference.deferred",
    "the same, and the network without its weights": "import somaseg.batch.segment, somaseg.models.cascade; "
    "import torch, somaseg.models.boxes as b; b.nms(torch.zeros(1, 4), torch.zeros(1), .5)",
    "import torch": "import torch",
    "import torchvision": "import torchvision",
    "import timm": "import timm",
}


def seconds(code: str) -> float:
    """Processor time of a Python process that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, code in WAYS.items():
            taken[name].append(seconds(code))
    torch = min(taken["import torch"])
    for name, times in taken.items():
        print(f"{name:48s}{min(times):6.2f} s{min(times) / torch:8.2f} of import torch")


if __name__ == "__main__":
    main()
