"""Settings of the network."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from somaseg.config.base import Probability, Settings


class InputSettings(Settings):
    """What the network is given for a grey image.

    Attributes:
        values: "standard" takes each image less its mean over its deviation; "grey8" takes grey values 0 to 255: 8-bit images as
            they are, others stretched (`somaseg.images.normalize`).
        channels: how many equal channels the grey image becomes.
        mean, std: subtracted from each channel, and its divisor, before the image is padded with zeros.
    """

    values: Literal["standard", "grey8"] = "standard"
    channels: Literal[1, 3] = 1
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"give mean and std one value for each of the {self.channels} channels")
        return self


class TimmSettings(Settings):
    """A timm network.

    Attributes:
        name: timm's name of it.
        freeze_at: 0 trains all; 1 holds the stem; n holds the stem and the first n - 1 stages (timm EfficientNets).
    """

    kind: Literal["timm"] = "timm"
    name: str = "tf_efficientnet_lite0"
    freeze_at: int = Field(default=2, ge=0)


Deformable = Literal["", "plain", "modulated"]


class ResNeXtSettings(Settings):
    """A ResNeXt (Xie et al. 2017) as Detectron2 builds it; the default is ResNeXt-152 32x8d with deformable convolutions.

    Attributes:
        blocks: bottleneck blocks of the stages res2 to res5.
        groups, group_width: of the 3 x 3 convolutions; the width of a group is that of res2 and doubles with each stage.
        stem_width: channels of the stem.
        out_width: channels that res2 gives; they double with each stage.
        deformable: which 3 x 3 convolutions are deformable, by stage: "" none, "plain" (Dai et al. 2017), "modulated" (Zhu et al. 2019).
        norm: "FrozenBN" is a batch norm whose weights and statistics stay as they are; "BN" trains; "GN" is group norm.
        freeze_at: 0 trains all; 1 holds the stem; n the stem and the stages up to res`n`.
        recompute: keep only the blocks' inputs for the backward pass and compute the rest again: less memory, more time.
    """

    kind: Literal["resnext"] = "resnext"
    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    groups: int = Field(default=32, ge=1)
    group_width: int = Field(default=8, ge=1)
    stem_width: int = Field(default=64, ge=1)
    out_width: int = Field(default=256, ge=1)
    deformable: tuple[Deformable, Deformable, Deformable, Deformable] = ("", "plain", "plain", "plain")
    norm: Literal["FrozenBN", "BN", "GN"] = "FrozenBN"
    freeze_at: int = Field(default=2, ge=0, le=5)
    recompute: bool = False

    @model_validator(mode="after")
    def _batches_count_once(self) -> Self:
        if self.recompute and self.norm == "BN":
            raise ValueError("recompute would enter every batch into the statistics of norm BN twice: give FrozenBN or GN")
        return self


class BackboneSettings(Settings):
    """A trunk and the pyramid on it (FPN, Lin et al. 2017).

    Attributes:
        trunk: the network that gives the features.
        strides: strides of the features that enter the pyramid, fine to coarse.
        fpn_width: channels of every level.
        fpn_norm: "GN" or "" for none.
        extra_level: add a level of twice the coarsest stride, which only proposals read.
    """

    trunk: Annotated[TimmSettings | ResNeXtSettings, Field(discriminator="kind")] = TimmSettings()
    strides: tuple[int, ...] = (4, 8, 16, 32)
    fpn_width: int = Field(default=96, ge=8)
    fpn_norm: Literal["", "GN"] = ""
    extra_level: bool = False

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Strides of all levels, the extra one with them."""
        return (*self.strides, 2 * max(self.strides)) if self.extra_level else self.strides


class RpnSettings(Settings):
    """Region proposals (Faster R-CNN, Ren et al. 2015); sizes in pixels of the network's input.

    Attributes:
        sizes: anchor sides by level, fine to coarse, as many on each level.
        ratios: height / width of the anchors.
        positive_iou, negative_iou: an anchor is a cell from the first on, background below the second.
        samples, positive_share: anchors an image in the loss, and the largest share of cells among them.
        nms_iou: overlap at which of two proposals of a level one goes.
        pre_nms, post_nms: proposals a level before, and an image after it, at inference.
        train_pre_nms, train_post_nms: the same in training.
        objectness: what the logits of anchors that are cells learn: "binary" 1; "iou" how well the anchor, moved by its deltas, covers
            its cell (IoU), so that of the proposals for a cell the best one stands first.
    """

    sizes: tuple[tuple[float, ...], ...] = ((28, 20), (48, 36), (88, 64), (170, 120))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    positive_iou: Probability = 0.6
    negative_iou: Probability = 0.3
    samples: int = Field(default=256, ge=1)
    positive_share: Probability = 0.5
    nms_iou: Probability = 0.7
    pre_nms: int = Field(default=2000, ge=1)
    post_nms: int = Field(default=1500, ge=1)
    train_pre_nms: int = Field(default=400, ge=1)
    train_post_nms: int = Field(default=300, ge=1)
    objectness: Literal["binary", "iou"] = "binary"


class HeadSettings(Settings):
    """The cascade (Cai & Vasconcelos 2018) and the mask head.

    Attributes:
        ious: overlap from which a box is a cell, by stage.
        samples, positive_share: boxes an image in the loss, and the largest share of cells among them.
        canonical_size: side in pixels of the network's input of a box that is pooled from the level `canonical_level`.
        canonical_level: that level, 0 is the finest.
        pool_ratio: samples along a bin's side; 0 adapts to the box.
        box_convs, box_conv_width, box_fcs, box_fc_width: layers of a stage's box head.
        mask_convs, mask_width: layers of the mask head, on 14 x 14 features; it gives 28 x 28.
        mask_samples: cells an image in the mask loss, at most (0 takes all).
        norm: "GN" or "" for the convolutions of both heads.
    """

    ious: tuple[float, ...] = (0.5, 0.6, 0.7)
    samples: int = Field(default=96, ge=1)
    positive_share: Probability = 0.35
    canonical_size: float = Field(default=112.0, gt=0)
    canonical_level: int = 2
    pool_ratio: int = Field(default=0, ge=0)
    box_convs: int = 0
    box_conv_width: int = 128
    box_fcs: int = 2
    box_fc_width: int = 256
    mask_convs: int = 3
    mask_width: int = 96
    mask_samples: int = 16
    norm: Literal["", "GN"] = ""


class DetectSettings(Settings):
    """What a detector keeps of its raw detections.

    Attributes:
        scale: size of the network's input over the size of the image.
        shortest_edge: if given, the side in pixels that the shorter side becomes, in place of `scale`.
        longest_edge: with it, the longer side becomes no longer than this.
        score_thresh: detections below are not kept; low, since post-processing screens.
        nms_iou: box overlap at which of two detections one goes; loose, since masks decide later.
        per_class: True keeps a detection for every class above the threshold (Detectron2's way); False one a box,
            with 1 - p(background) as its score and its most probable class as label.
        max_detections: an image; reaching it gives a warning.
    """

    scale: float = Field(default=1.5, gt=0)
    shortest_edge: int | None = Field(default=None, ge=1)
    longest_edge: int | None = Field(default=None, ge=1)
    score_thresh: Probability = 0.05
    nms_iou: Probability = 0.6
    per_class: bool = False
    max_detections: int = Field(default=1500, ge=1)

    @model_validator(mode="after")
    def _a_limit_needs_a_size(self) -> Self:
        if self.longest_edge is not None and self.shortest_edge is None:
            raise ValueError("longest_edge limits what shortest_edge asks for: give shortest_edge too")
        return self


class TrainedSize(Settings):
    """At which size the network knows cells: what it was trained at, in pixels of an image that is shown at the weights' own scale.

    Attributes:
        pixel_size: edge of a pixel in µm; none where the training images did not tell it.
        cell_diameter: median diameter of the cells in pixels, by class, that of the circle of the same area; empty where it is not known.
    """

    pixel_size: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    cell_diameter: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}


class ModelSettings(Settings):
    """A Cascade Mask R-CNN, whole: classes, parts, and how it detects.

    In a settings file `preset: X152` stands for all settings of `X152`; what is given beside it takes the place of single ones.

    Attributes:
        classes: names of the classes, in the order of their labels.
        trained_at: at which size the network knows cells; training writes it into its weights.
    """

    classes: tuple[str, ...] = ("shsy5y", "astro", "cort")
    trained_at: TrainedSize = TrainedSize()
    input: InputSettings = InputSettings()
    backbone: BackboneSettings = BackboneSettings()
    rpn: RpnSettings = RpnSettings()
    heads: HeadSettings = HeadSettings()
    detect: DetectSettings = DetectSettings()

    @model_validator(mode="before")
    @classmethod
    def _resolve_preset(cls, values: Any) -> Any:
        if not (isinstance(values, dict) and "preset" in values):
            return values
        name = values["preset"]
        if name not in PRESETS:
            raise ValueError(f"preset: found {name!r}, expected one of {', '.join(PRESETS)}")
        return _merged(PRESETS[name].model_dump(), {key: value for key, value in values.items() if key != "preset"})


def _merged(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given` in place of what it names, within nested settings too unless they are of another kind."""
    result = dict(values)
    for key, value in given.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            result[key] = _merged(old, value)
        else:
            result[key] = value
    return result


# cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv of Detectron2's model zoo (docs/method.md).
X152 = ModelSettings(
    input=InputSettings(values="grey8", channels=3, mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0)),
    backbone=BackboneSettings(trunk=ResNeXtSettings(), fpn_width=256, extra_level=True),
    rpn=RpnSettings(
        sizes=((32,), (64,), (128,), (256,), (512,)),
        positive_iou=0.7,
        pre_nms=1000,
        post_nms=1000,
        train_pre_nms=2000,
        train_post_nms=2000,
    ),
    heads=HeadSettings(
        samples=512,
        positive_share=0.25,
        canonical_size=224,
        box_convs=4,
        box_conv_width=256,
        box_fcs=1,
        box_fc_width=1024,
        mask_convs=8,
        mask_width=256,
        mask_samples=0,
        norm="GN",
    ),
    detect=DetectSettings(shortest_edge=800, longest_edge=1333, nms_iou=0.5, per_class=True, max_detections=100),
)

PRESETS = {"X152": X152}
