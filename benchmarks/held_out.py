"""Score weights on the fold that their training held out, with thresholds never chosen on the images they are scored on.

The held-out images are parted into two halves by field of view. Thresholds are chosen on one half, by coordinate descent
on `map_iou` of each cell type, and scored on the other, and the other way round; the number reported joins the two.
The thresholds printed at the end are chosen on all held-out images: they go with the weights, no score does.

    python benchmarks/held_out.py --data ANNOTATIONS --weights default
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from rich.progress import track

from cross_fit import choose, cross_fitted, halved, scorer_of
from full_set import FULL_SET_IMAGES
from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from somaseg.config import PostprocessSettings, SegmentSettings
from somaseg.data.groups import grouped
from somaseg.data.splits import make_folds
from somaseg.evaluation.map_iou import summarise
from somaseg.evaluation.report import interval_text
from somaseg.images.read import read_image
from somaseg.inference.segmenter import Segmenter, load
from somaseg.tuning.trials import Case

TERMS = "trained on competition data, for research and other non-commercial use; check the terms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="annotations that the weights were trained on")
    parser.add_argument("--weights", default="default", help="a name, or with --save a file")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--scale", type=float, help="size of the network's input over the image, instead of the weights' own")
    parser.add_argument("--offset", type=float, nargs=2, help="pixels right and down to move masks by, instead of the weights' own")
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    parser.add_argument("--save", type=Path, help="write the weights with thresholds chosen on all held-out images")
    args = parser.parse_args()

    held_out = held_out_samples(args.data, args.folds, args.fold)
    segmenter = load(args.weights)
    if args.scale:
        detect = segmenter.model_settings.detect.model_copy(update={"scale": args.scale})
        segmenter.model_settings = segmenter.model_settings.model_copy(update={"detect": detect})
    cases = predicted(segmenter, held_out)
    start, every = starting_settings(args.offset or segmenter.settings.offset), range(len(cases))
    with scorer_of(cases, start) as scorer:
        chosen = choose(scorer, cases, np.arange(len(cases)), start).postprocess
        tables = {
            "shipped starting values": scorer.precisions(start, every),
            "cross-fitted": cross_fitted(cases, halved(held_out), lambda seen: start).precisions,
        }
    results = {}
    for name, table in tables.items():
        result = summarise(table, [case.cell_type for case in cases], FULL_SET_IMAGES)
        results[name] = result.model_dump()
        whole = result.weighted
        assert whole is not None
        print(f"{name}: map_iou {whole.value:.4f} [{interval_text(whole)}] in full-set proportions")
        for cell_type, score in result.by_class.items():
            by_threshold = " ".join(f"{v:.3f}" for v in score.by_threshold)
            print(f"  {cell_type} ({score.images} images) {score.value:.4f} [{interval_text(score)}]; by IoU: {by_threshold}")
    print("thresholds chosen on all held-out images:", chosen.model_dump_json())
    if args.out:
        args.out.write_text(json.dumps({"scores": results, "postprocess": chosen.model_dump()}, indent=1))
    if args.save:
        reported = results["cross-fitted"]["weighted"]["value"]
        checkpoint = load_checkpoint(Path(args.weights))
        config = checkpoint.config.model_copy(update={"postprocess": chosen, "model": segmenter.model_settings})
        save_checkpoint(
            args.save,
            checkpoint.model,
            config,
            checkpoint.provenance | {"map_iou": reported, "terms": TERMS},
        )
        args.save.with_suffix(".yaml").write_text(yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False))


def held_out_samples(data: Path, count: int, fold: int) -> list[Sample]:
    """Annotated images of a fold, without those whose field is in another one; says which these are."""
    samples = read_annotations(data)
    folds = make_folds(samples, count)
    # The annotations' groups may miss a pair of images of one field; such images were seen in training and are left out.
    fields = {s.name: s.group for s in grouped(samples, find=True)}
    trained = {fields[s.name] for s in samples if folds[s.name] != fold}
    held_out = [s for s in samples if folds[s.name] == fold and fields[s.name] not in trained]
    left_out = [s.name for s in samples if folds[s.name] == fold and fields[s.name] in trained]
    print(f"{len(held_out)} held-out images; left out, as their field is in the training folds: {', '.join(left_out) or 'none'}")
    return held_out


def predicted(segmenter: Segmenter, samples: Sequence[Sample]) -> list[Case]:
    """Raw detections beside the truth."""
    return [Case(s.name, (segmenter.predict(read_image(s.image).array),), s.instances, s.type_name) for s in track(samples, "predicting")]


def starting_settings(offset: Sequence[float]) -> SegmentSettings:
    """The settings' defaults, masks moved by the offset (x, y)."""
    right, down = offset
    return SegmentSettings(postprocess=PostprocessSettings(offset=(right, down)))


if __name__ == "__main__":
    main()
