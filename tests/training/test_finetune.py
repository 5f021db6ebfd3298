"""Fine-tuning on a few images: better weights are taken, others refused, data that cannot be used is told."""

import json
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("pytorch_lightning", reason="needs somaseg[train]")

from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from somaseg.cli.main import app
from somaseg.config import AugmentSettings, Config, PostprocessSettings, ZoomSettings
from somaseg.errors import InputError
from somaseg.evaluation.map_iou import map_iou
from somaseg.inference.networks import in_torch
from somaseg.inference.segmenter import Segmenter, load
from somaseg.models.cascade import CascadeMaskRCNN
from somaseg.runtimes.choice import choose
from somaseg.synth.folder import write_cultures
from somaseg.synth.render import SynthSettings, render
from somaseg.training import finetune as stage
from somaseg.training.finetune import FinetuneResult, adapted_model, compared, finetune, thresholds_for_classes
from tiny import TINY

LIVECELL = Path(__file__).parents[3] / "shared" / "data" / "livecell"
QUICK = ["train.steps=2", "train.batch=1", "train.workers=0", "train.bf16=false", "augment.size.side=96"]


@pytest.fixture(scope="module")
def cultures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cultures")
    write_cultures(folder, count=3, seed=3, cell_type="cort")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that find nothing: drawn at random, with thresholds that nothing reaches."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    model = TINY.model_copy(update={"detect": TINY.detect.model_copy(update={"max_detections": 50})})
    config = Config(
        model=model,
        augment=AugmentSettings(size=ZoomSettings(side=96)),
        postprocess=PostprocessSettings(score_thresh={"default": 0.99, "long": 0.98}),
    )
    save_checkpoint(path, CascadeMaskRCNN(model), config, {"data": "none"})
    return path


def pretend(monkeypatch: pytest.MonkeyPatch, base: float, tuned: float) -> None:
    """Have the first scoring find `base` and the second `tuned`, at every IoU threshold of every image."""
    values = iter((base, tuned))
    monkeypatch.setattr(stage, "image_precisions", lambda _model, samples, *_: (np.full((len(samples), 10), next(values)), []))


def run(data: Path, out: Path, base: Path, *more: str) -> tuple[int, str]:
    sets = [word for assignment in (*QUICK, *more) for word in ("--set", assignment)]
    ran = CliRunner().invoke(app, ["finetune", "--data", str(data), "--out", str(out), "--weights", str(base), *sets])
    return ran.exit_code, ran.stdout


def test_better_weights_are_taken(cultures: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0.25, 0.5)
    code, text = run(cultures, tmp_path / "run", base)
    assert code == 0, text
    assert (
        f"better by 0.2500 map_iou on 1 validation image; so few images cannot rule out chance. Use them with --weights {tmp_path}" in text
    )
    result = FinetuneResult.model_validate_json((tmp_path / "run" / "finetune.json").read_text())
    assert result.better
    assert (result.base.overall.value, result.tuned.overall.value, result.gain.value) == (0.25, 0.5, 0.25)
    assert sorted((*result.training, *result.validation)) == sorted(sample.name for sample in read_annotations(cultures))
    assert [row.image for row in result.images] == list(result.validation)
    assert result.classes == ("cort",)
    assert set(result.class_origin) == {"cort"}
    assert set(result.class_origin.values()) <= {"round", "long"}
    made = load_checkpoint(tmp_path / "run" / "weights.safetensors")
    assert made.config.model.classes == ("cort",)
    assert made.provenance["step"] == 2
    old = load_checkpoint(base)
    assert made.config.postprocess == thresholds_for_classes(old.config.postprocess, result.class_origin)
    with pytest.raises(InputError, match=r"finetune\.json: this run is finished: give another --out"):
        finetune(cultures, tmp_path / "run", str(base), QUICK)


@pytest.mark.parametrize(("tuned", "how"), [(0.2, "worse than the base weights by 0.0500 map_iou"), (0.25, "as good as the base weights")])
def test_others_are_refused(cultures: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuned: float, how: str) -> None:
    pretend(monkeypatch, 0.25, tuned)
    code, text = run(cultures, tmp_path, base)
    assert code == 1
    assert f"refused: the new weights are {how}" in text
    assert f"Go on with --weights {base}. The new ones are left in {tmp_path / 'training' / 'last.safetensors'}" in text
    assert not (tmp_path / "weights.safetensors").exists()
    assert load_checkpoint(tmp_path / "training" / "last.safetensors").provenance["step"] == 2
    assert not FinetuneResult.model_validate_json((tmp_path / "finetune.json").read_text()).better


def test_a_harmful_step_is_refused(tmp_path: Path) -> None:
    samples = []
    for number in range(2):
        pixels, cells = render(SynthSettings(cell_type="cort", size=(130, 176)), seed=number)
        image = tmp_path / f"{number}.png"
        iio.imwrite(image, pixels)
        samples.append(Sample(image, cells, image.stem, group=image.stem))
    write_coco(samples, tmp_path / "annotations.json")
    harm = ["train.steps=1", "train.optimizer.rate=0.05", "train.optimizer.warmup=0"]
    result, path = finetune(tmp_path, tmp_path / "run", "default", [*QUICK, *harm])
    assert (len(result.training), len(result.validation)) == (1, 1)
    assert result.base.overall.value > result.tuned.overall.value
    assert result.class_origin == {"shsy5y": "shsy5y", "astro": "astro", "cort": "cort"}
    assert path == tmp_path / "run" / "training" / "last.safetensors"
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_scores_are_those_that_segment_would_give(cultures: Path, base: Path) -> None:
    samples = read_annotations(cultures)[:1]
    segmenter = load(base, device="cpu")
    segmenter.settings = PostprocessSettings(score_thresh=0.0)
    table, told = stage.image_precisions(segmenter, samples, "scoring")
    cells = segmenter.segment(stage.read_image(samples[0].image).array)
    assert table.mean() == map_iou([(cells, samples[0].instances)], ["cort"]).overall.value
    assert all(text.startswith(f"{samples[0].name}: ") for text in told)


def test_a_run_with_other_images_does_not_go_on(cultures: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"weights": "a" * 64, "training": [], "validation": []}))
    with pytest.raises(InputError, match=r"split\.json: belongs to a run with other images or base weights"):
        finetune(cultures, tmp_path, str(base), QUICK)


def broken(cultures: Path, out: Path, change: str) -> Path:
    """The annotations of the cultures with something changed, and their images."""
    data = json.loads((cultures / "annotations.json").read_text())
    (out / "images").symlink_to(cultures / "images")
    match change:
        case "one image":
            data["images"] = data["images"][:1]
            data["annotations"] = [a for a in data["annotations"] if a["image_id"] == data["images"][0]["id"]]
        case "no cells":
            data["annotations"] = []
        case "unknown class":
            data["annotations"][4]["category_id"] = 99
        case "missing image":
            data["images"][1]["file_name"] = "lost.png"
    (out / "annotations.json").write_text(json.dumps(data))
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("one image", r"found 1 image of 1 field of view, expected images of 2 or more"),
        ("no cells", r"has no cell in 3 images"),
        ("unknown class", r"annotations\.json: annotations\[4\], category_id: .*data check"),
        ("missing image", r"lost\.png: is not there.*data check"),
    ],
)
def test_data_that_cannot_be_used_is_told_before_anything_is_done(
    cultures: Path, base: Path, tmp_path: Path, change: str, message: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(InputError, match=message):
        finetune(broken(cultures, data, change), tmp_path / "run", str(base), QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("assignment", ["postprocess.score_thresh=0.1", "train.init=none", "evaluation.type_weights.cort=1"])
def test_both_weights_are_scored_alike(cultures: Path, base: Path, tmp_path: Path, assignment: str) -> None:
    with pytest.raises(InputError, match=f"--set {assignment}: cannot be set here"):
        finetune(cultures, tmp_path / "run", str(base), [*QUICK, assignment])


def test_classes_take_the_thresholds_of_those_that_they_started_from() -> None:
    given = PostprocessSettings(score_thresh={"default": 0.3, "astro": 0.2}, min_area={"default": 50, "cort": 70})
    moved = thresholds_for_classes(given, {"glia": "astro", "neuron": "cort", "other": "shsy5y"})
    assert moved.score_thresh == {"default": 0.3, "glia": 0.2}
    assert moved.min_area == {"default": 50, "neuron": 70}
    assert moved.nms_iou == given.nms_iou


def test_other_classes_change_no_score(base: Path) -> None:
    given = load_checkpoint(base)
    config = Config(model=given.config.model.model_copy(update={"classes": ("a", "b", "c")}))
    model = adapted_model(given, config, {"a": "round", "b": "round", "c": "long"}).eval()
    image = np.random.default_rng(0).integers(0, 256, (64, 80), np.uint8)
    runtime = choose("torch", "float32", "cpu")
    other = in_torch(Checkpoint(model, config, "", {}), runtime)
    segmenters = load(base, "cpu", "torch", "float32"), Segmenter("other", [other], runtime)
    old, new = (segmenter.predict(image) for segmenter in segmenters)
    assert len(old)
    np.testing.assert_allclose(new.scores, old.scores, atol=1e-5)
    np.testing.assert_allclose(new.boxes, old.boxes, atol=1e-3)


def test_the_gain_is_drawn_image_by_image() -> None:
    base = np.linspace(0.1, 0.6, 6)[:, None] * np.ones(10)
    old, new, gain, images = compared(base, base + 0.1, list("abcdef"), ["x"] * 6)
    assert new.overall.value - old.overall.value == pytest.approx(0.1)
    assert (gain.low, gain.value, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    assert old.overall.low < old.overall.value
    assert [row.gain for row in images] == pytest.approx([0.1] * 6)


@pytest.mark.skipif(not LIVECELL.is_dir(), reason="the LIVECell images are not beside the repository")
@pytest.mark.filterwarnings("ignore:proposals reached", "ignore:detections reached")
def test_livecell_from_the_default_weights(tmp_path: Path) -> None:
    result, path = finetune(LIVECELL, tmp_path, "default", QUICK)
    assert FinetuneResult.model_validate_json((tmp_path / "finetune.json").read_text()) == result
    assert (len(result.training), len(result.validation)) == (6, 2)
    assert result.classes == tuple(result.class_origin)
    assert set(result.class_origin.values()) <= {"shsy5y", "astro", "cort"}
    gains = [row.tuned - row.base for row in result.images]
    assert result.gain.value == pytest.approx(np.mean(gains))
    assert result.better == (result.tuned.overall.value > result.base.overall.value) == (tmp_path / "weights.safetensors").exists()
    assert path == (tmp_path / "weights.safetensors" if result.better else tmp_path / "training" / "last.safetensors")
    assert load(path).classes == result.classes


def test_pseudo_labelled_images_are_no_fields_to_score_on(cultures: Path) -> None:
    samples = [replace(sample, source="pseudo") if number else sample for number, sample in enumerate(read_annotations(cultures))]
    with pytest.raises(InputError, match="found 1 image of 1 field of view, expected images of 2 or more"):
        stage.settings(Config(), samples, [])
