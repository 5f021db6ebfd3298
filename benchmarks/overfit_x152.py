"""The full-size Cascade Mask R-CNN X152 learns: from drawn weights it overfits four synthetic images on a processor.

    python benchmarks/overfit_x152.py --out DIR [--steps 340] [--bf16]

Everything is the product's own: model, losses, optimiser, schedule, crops, detection, post-processing and `map_iou`. The network is the
X152 of docs/method.md with all its 182 million parameters; three settings differ, since it starts from nothing: its trunk has group norms
(frozen batch norms hold the statistics of a network that has learned before; drawn weights have none), no stage is frozen, and fewer
boxes are sampled, as there are few cells. The images are 64 x 64 pixels with a few cells each, seen at twice their size. Drawn cells lie
over one another and may be small, and the truth holds them whole; so post-processing leaves overlaps and small cells as they are.

Writes `curve.csv`, `curve.png` and the weights `x152.safetensors` to DIR, and `state.pt`, from which the same command goes on. Stops
when `map_iou` on the four images passes .9 in two scores running, and fails when it does not in the steps given.
"""

import argparse
import csv
import time
import warnings
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from somaseg.annotations.samples import Sample
from somaseg.augmentation.crop import augment
from somaseg.checkpoints.checkpoint import save_checkpoint
from somaseg.config import (
    X152,
    AdamWSettings,
    AugmentSettings,
    Config,
    CosineSchedule,
    EdgeSettings,
    PasteSettings,
    PostprocessSettings,
    TrainSettings,
    override,
)
from somaseg.evaluation.map_iou import image_map_iou
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.synth.render import SynthSettings, render
from somaseg.training.dataset import Crops, as_tensors
from somaseg.training.module import score_sample
from somaseg.training.optimise import make_optimizer, rate_factor

SIDE, ZOOM = 64, 2
CULTURES = ("cort",) * 4
GOAL = 0.9
CHANGES = (
    "backbone.trunk.norm=GN",
    "backbone.trunk.freeze_at=0",
    "rpn.samples=64",
    "rpn.train_pre_nms=200",
    "rpn.train_post_nms=100",
    "heads.samples=24",
    "heads.positive_share=0.5",
    "heads.mask_samples=12",
)
FIELDS = ("step", "seconds", "loss", "map_iou")


def settings(steps: int, rate: float, bf16: bool) -> Config:
    """The X152 with group norms, without augmentation."""
    model = override(X152, [f"detect.shortest_edge={SIDE * ZOOM}", *CHANGES])
    return Config(
        model=model,
        augment=AugmentSettings(
            size=EdgeSettings(crop=1.0, edges=(SIDE * ZOOM,)),
            turns="none",
            rotate_share=0.0,
            paste=PasteSettings(share=0.0),
            contrast=0.0,
            brightness=0.0,
            noise=0.0,
        ),
        postprocess=PostprocessSettings(overlaps="keep", nms_iou=0.6, mask_thresh={"default": 0.5}, min_area={"default": 20.0}),
        train=TrainSettings(
            init="none",
            steps=steps,
            optimizer=AdamWSettings(rate=rate, weight_decay=0.0, warmup=20),
            schedule=CosineSchedule(final=0.02),
            clip=1.0,
            bf16=bf16,
        ),
    )


def draw_images(folder: Path) -> list[Sample]:
    """Four cultures with a few cells each."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, culture in enumerate(CULTURES):
        image, cells = render(SynthSettings(cell_type=culture, size=(SIDE, SIDE), cells=4, neurites=0.0, debris=0.0), seed=number)
        path = folder / f"{number}.png"
        iio.imwrite(path, image)
        samples.append(Sample(path, cells, path.stem, group=path.stem, cell_type=culture))
    return samples


def score(model: CascadeMaskRCNN, samples: list[Sample], config: Config) -> float:
    """`map_iou` on the images, through the whole of `segment`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="detections reached their cap")
        pairs = [(score_sample(model, sample, config)[0], sample.instances) for sample in samples]
    model.train()
    return float(np.mean([image_map_iou(found, truth) for found, truth in pairs]))


def overfit(out: Path, config: Config, every: int) -> list[dict[str, float]]:
    """Train until the goal or the last step; the scores on the way."""
    samples = draw_images(out / "images")
    crops = [augment(scene, [], config.augment, np.random.default_rng(0)) for scene in Crops(samples, config).scenes]
    images, targets = (list(part) for part in zip(*(as_tensors(crop) for crop in crops), strict=True))
    print(f"cells an image: {', '.join(str(len(s.instances)) for s in samples)}")
    torch.manual_seed(0)
    model = CascadeMaskRCNN(config.model).train()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters, {torch.get_num_threads()} threads")
    optimizer = make_optimizer(model, config.train.optimizer)
    rates: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(config.train, step))
    rows: list[dict[str, float]] = []
    state = out / "state.pt"
    if state.exists():
        saved = torch.load(state, mmap=True)
        rows = saved["rows"]
        for part, name in ((model, "model"), (optimizer, "optimizer"), (rates, "rates")):
            part.load_state_dict(saved[name])
    first = int(rows[-1]["step"]) if rows else 0
    begin = time.perf_counter() - (rows[-1]["seconds"] if rows else 0.0)
    for step in range(first, config.train.steps):
        torch.manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.train.bf16):
            loss = torch.stack(list(model(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.clip)
        optimizer.step()
        rates.step()
        if (step + 1) % every == 0 or step + 1 == config.train.steps:
            values = (step + 1, time.perf_counter() - begin, loss.item(), score(model, samples, config))
            rows.append(dict(zip(FIELDS, values, strict=True)))
            print("  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
            parts = {"rows": rows, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "rates": rates.state_dict()}
            torch.save(parts, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
            draw_curve(out, rows)
            if len(rows) > 1 and min(row["map_iou"] for row in rows[-2:]) > GOAL:
                break
    save_checkpoint(out / "x152.safetensors", model, config, {"data": "four synthetic images"}, precision="float")
    return rows


def draw_curve(out: Path, rows: list[dict[str, float]]) -> None:
    with (out / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="map_iou on the four images", ylim=(0, 1))
    steps = [row["step"] for row in rows]
    axes.axhline(GOAL, color="0.7", linewidth=0.8)
    axes.plot(steps, [row["map_iou"] for row in rows], "o-", color="tab:blue", markersize=3, label="map_iou")
    losses = axes.twinx()
    losses.set(ylabel="loss", yscale="log")
    losses.plot(steps, [row["loss"] for row in rows], color="tab:orange", label="loss")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    FigureCanvasAgg(figure).print_png(out / "curve.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the curve and the state to go on from")
    parser.add_argument("--steps", type=int, default=340)
    parser.add_argument("--every", type=int, default=20, help="steps between scores")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    given = parser.parse_args()
    rows = overfit(given.out, settings(given.steps, given.rate, given.bf16), given.every)
    if max(row["map_iou"] for row in rows) <= GOAL:
        raise SystemExit(f"map_iou did not pass {GOAL} in {given.steps} steps")


if __name__ == "__main__":
    main()
