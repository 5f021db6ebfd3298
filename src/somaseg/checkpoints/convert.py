"""Turn weights of Detectron2 and Caffe2 into somaseg's."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from rich.table import Table
from rich.text import Text
from torch import Tensor

from somaseg.checkpoints.architecture import architecture, differences, shapes_of
from somaseg.checkpoints.checkpoint import Precision, save_checkpoint
from somaseg.checkpoints.class_heads import MASKS, SCORES, adapt_classes, class_count
from somaseg.checkpoints.foreign import ForeignWeights, read_foreign
from somaseg.config import X152, Config, load_settings
from somaseg.errors import InputError
from somaseg.files import file_sha256, write_whole
from somaseg.models.cascade import CascadeMaskRCNN

TRUNK = "backbone.bottom_up."
# What a file holds whole or not at all.
PARTS = {
    "trunk": (TRUNK,),
    "pyramid": ("backbone.fpn_",),
    "proposals": ("proposal_generator.rpn_head.",),
    "box heads": ("roi_heads.box_head.", "roi_heads.box_predictor."),
    "mask head": ("roi_heads.mask_head.",),
}
# Caffe2's names of the trunk, as Detectron wrote them: conv1_w, res_conv1_bn_s, res2_0_branch2a_w, res2_0_branch2a_bn_s.
CAFFE2 = re.compile(r"(?:res_)?conv1_(?P<stem>\w+)|(?P<stage>res\d)_(?P<block>\d+)_branch(?P<branch>1|2a|2b|2c)_(?P<end>\w+)")
BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
ENDS = {
    "w": "weight", "b": "bias", "bn_s": "norm.weight", "bn_b": "norm.bias", "bn_gamma": "norm.weight", "bn_beta": "norm.bias",
    "bn_rm": "norm.running_mean", "bn_riv": "norm.running_var", "gn_s": "norm.weight", "gn_b": "norm.bias",
}  # fmt: skip
OFFSETS = ".conv2_offset."
EPS = 1e-5  # what a frozen norm adds to the variance; a norm that has none in the file shall scale by its weight exactly


@dataclass(frozen=True)
class Conversion:
    """What became of the tensors of a file.

    Attributes:
        source, format, author: the file, its kind, and who it says made it.
        loaded: names in the model whose tensors come from the file.
        missing: names in the model that the file has nothing for, and that keep their first values.
        unexpected: names in the file that the model has no place for; they are left out.
        reshaped: by name in the model, the shape in the file and the one that it got.
        filled: statistics of norms that the file leaves out, since its norms only scale and shift.
        classes: what became of the classes.
    """

    source: str
    format: str
    author: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    filled: tuple[str, ...]
    classes: str

    def table(self) -> Table:
        """The same for the screen: counts by part, a few names."""
        table = Table("", "tensors", "such as", title=Text(f"{self.source} ({self.format}{', ' if self.author else ''}{self.author})"))
        for what, names in (
            ("loaded", self.loaded),
            ("missing: keep their first values", self.missing),
            ("unexpected: left out", self.unexpected),
            ("reshaped", tuple(f"{name} {list(a)} -> {list(b)}" for name, (a, b) in self.reshaped.items())),
            ("norm statistics filled in", self.filled),
        ):
            table.add_row(what, str(len(names)), Text(_few(names), overflow="fold"))
        return table

    def notes(self) -> list[str]:
        """What to know before the weights are used."""
        offsets = [name for name in self.missing if OFFSETS in name]
        absent = [part for part, prefixes in PARTS.items() if any(n.startswith(prefixes) and OFFSETS not in n for n in self.missing)]
        notes = [f"classes: {self.classes}"] if self.classes else []
        if offsets:
            notes.append("deformable convolutions start as plain ones, since the file has no offsets")
        if absent:
            notes.append(f"drawn anew: {', '.join(absent)}; this is a start for training and no detector yet")
        return notes

    def write_json(self, path: Path) -> None:
        """All names."""
        write_whole(path, json.dumps(asdict(self), indent=1))


def read_architecture(name: str) -> Config:
    """Settings of a known architecture (`x152`), or those in a YAML file.

    Raises:
        InputError: when there is no such architecture or file.
    """
    if name == "x152":
        return Config(model=X152)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"architecture {name}: no such file: give x152, or a YAML file of settings")
    return load_settings(Config, path)


def convert(
    source: Path,
    out: Path,
    architecture_name: str = "x152",
    classes: Sequence[str] | None = None,
    source_classes: Sequence[str] | None = None,
    precision: Precision = "half",
    seed: int = 0,
) -> Conversion:
    """Write another program's weights as a checkpoint, and its settings as YAML beside it.

    Args:
        source: a file of Detectron2 or Caffe2.
        out: the checkpoint, .safetensors.
        architecture_name: see `read_architecture`.
        classes: of the model; None takes those of the architecture.
        source_classes: of the file, in its order; None means that nobody knows them.
        precision: of the checkpoint.
        seed: of what the file has nothing for.

    Raises:
        InputError: when the file cannot be read, holds weights of another architecture, or fits only in parts; or `out` has another suffix.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: expected a name that ends with .safetensors; the settings go beside it as .yaml")
    foreign = read_foreign(source)
    config = read_architecture(architecture_name)
    if classes is not None:
        config = config.model_copy(update={"model": config.model.model_copy(update={"classes": tuple(classes)})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CascadeMaskRCNN(config.model)
    state, conversion = fit(foreign, source, model.state_dict(), architecture_name, config.model.classes, source_classes, seed)
    model.load_state_dict(state)
    provenance = {
        "converted_from": source.name,
        "source_sha256": file_sha256(source),
        "source_format": foreign.format,
        "source_author": foreign.author,
        "notes": conversion.notes(),
    }
    save_checkpoint(out, model, config, provenance, precision)
    settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_whole(out.with_suffix(".yaml"), settings)
    return conversion


def fit(
    foreign: ForeignWeights,
    source: Path,
    own: Mapping[str, Tensor],
    architecture_name: str,
    classes: Sequence[str],
    source_classes: Sequence[str] | None,
    seed: int,
) -> tuple[dict[str, Tensor], Conversion]:
    """All tensors of the model, from the file where it has them, and what became of each."""
    named: dict[str, Tensor] = {}
    for name, tensor in foreign.tensors.items():
        ours = our_name(name, own)
        if ours in named:
            raise InputError(f"{source}: holds two tensors for {ours}, one of them {name}: keep one")
        named[ours] = tensor
    if not own.keys() & named.keys():
        raise InputError(
            f"{source}: none of its tensors is the model's: found {_few(sorted(foreign.tensors))}, expected {_few(sorted(own))}"
        )
    wrong = differences(architecture(shapes_of(named)), architecture(shapes_of(own)))
    if wrong:
        raise InputError(
            f"{source}: holds another architecture than {architecture_name}: {'; '.join(wrong)}: give its settings with --architecture"
        )
    heads = {name: tensor for name, tensor in named.items() if SCORES.search(name) or MASKS.search(name)}
    said = ""
    if heads:
        if source_classes is None and class_count(heads) == len(classes):
            said = f"taken to be {', '.join(classes)} in this order, since the file names none"
            source_classes = classes
        else:
            adapted = adapt_classes(heads, source_classes, classes, seed=seed)
            said = f"{class_count(heads)} in the file; {adapted.text()}"
            named |= adapted.state
    unexpected = tuple(name for name in named if name not in own)
    _check(source, named, own, unexpected)
    filled = {name: _statistic(name, own[name]) for name in own if name not in named and _scales_only(name, named)}
    missing = tuple(name for name in own if name not in named and name not in filled)
    loaded = {name: named[name] for name in own if name in named}
    conversion = Conversion(
        str(source),
        foreign.format,
        foreign.author,
        tuple(loaded),
        missing,
        unexpected,
        {n: (tuple(t.shape), tuple(loaded[n].shape)) for n, t in heads.items() if t.shape != loaded[n].shape},
        tuple(filled),
        said,
    )
    return {**own, **filled, **loaded}, conversion


def our_name(name: str, own: Mapping[str, Tensor]) -> str:
    """What the model calls a tensor of Detectron2, torchvision's trunks in Detectron2, or Caffe2; the name itself where nothing fits."""
    name = name.removeprefix("module.")  # of data-parallel training
    caffe2 = CAFFE2.fullmatch(name)
    if caffe2 and (caffe2["stem"] or caffe2["end"]) in ENDS:
        layer = "stem.conv1" if caffe2["stem"] else f"{caffe2['stage']}.{caffe2['block']}.{BRANCHES[caffe2['branch']]}"
        return f"{TRUNK}{layer}.{ENDS[caffe2['stem'] or caffe2['end']]}"
    return next((prefix + name for prefix in ("", TRUNK, "backbone.") if prefix + name in own), name)


def _check(source: Path, named: Mapping[str, Tensor], own: Mapping[str, Tensor], unexpected: Sequence[str]) -> None:
    """Refuse what would load but not compute what it did."""
    shapes = [
        f"{name} is {list(named[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in named and named[name].shape != own[name].shape
    ]
    if shapes:
        raise InputError(
            f"{source}: {len(shapes)} tensors have other shapes than the model's: {_few(shapes)}: give its settings with --architecture"
        )
    for part, prefixes in PARTS.items():
        expected = [n for n in own if n.startswith(prefixes) and not _may_lack(n, named)]
        lacking = [n for n in expected if n not in named]
        # A bias of zeros (Caffe2 has them before norms) adds nothing.
        extra = [n for n in unexpected if n.startswith(prefixes) and not (n.endswith(".bias") and not named[n].any())]
        if extra or 0 < len(lacking) < len(expected):
            found = [f"it lacks {_few(lacking)}"] if 0 < len(lacking) < len(expected) else []
            found += [f"it has besides {_few(extra)}"] if extra else []
            raise InputError(f"{source}: its {part} is not the model's: {'; '.join(found)}: give its settings with --architecture")
    broken = [name for name, tensor in named.items() if name in own and not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(f"{source}: {len(broken)} tensors are not finite, such as {broken[0]}: the training that wrote it went wrong")


def _may_lack(name: str, named: Mapping[str, Tensor]) -> bool:
    """Offsets of deformable convolutions start at zero, which is a plain convolution; statistics may be in the scale already."""
    return OFFSETS in name or _scales_only(name, named)


def _scales_only(name: str, named: Mapping[str, Tensor]) -> bool:
    layer, _, leaf = name.rpartition(".")
    return leaf in ("running_mean", "running_var", "num_batches_tracked") and f"{layer}.weight" in named


def _statistic(name: str, own: Tensor) -> Tensor:
    return torch.full_like(own, 1 - EPS) if name.endswith("running_var") else torch.zeros_like(own)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
