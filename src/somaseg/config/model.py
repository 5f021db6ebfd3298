"""Settings of the network."""

from typing import Literal

from pydantic import Field

from somaseg.config.base import Probability, Settings


class BackboneSettings(Settings):
    """A timm network and the pyramid on it.

    Attributes:
        name: timm's name of the network.
        strides: strides of the features that enter the pyramid, fine to coarse.
        freeze_at: 0 trains all; 1 holds the stem; n holds the stem and the first n - 1 stages (timm EfficientNets).
        fpn_width: channels of every level.
        fpn_norm: "GN" or "" for none.
    """

    name: str = "tf_efficientnet_lite0"
    strides: tuple[int, ...] = (4, 8, 16, 32)
    freeze_at: int = Field(default=2, ge=0)
    fpn_width: int = Field(default=96, ge=8)
    fpn_norm: Literal["", "GN"] = ""


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
        score_thresh: detections below are not kept; low, since post-processing screens.
        nms_iou: box overlap at which of two detections one goes; loose, since masks decide later.
        per_class: True keeps a detection for every class above the threshold (Detectron2's way); False one a box,
            with 1 - p(background) as its score and its most probable class as label.
        max_detections: an image; reaching it gives a warning.
    """

    scale: float = Field(default=1.5, gt=0)
    score_thresh: Probability = 0.05
    nms_iou: Probability = 0.6
    per_class: bool = False
    max_detections: int = Field(default=1500, ge=1)


class ModelSettings(Settings):
    """A Cascade Mask R-CNN, whole: classes, parts, and how it detects."""

    classes: tuple[str, ...] = ("shsy5y", "astro", "cort")
    backbone: BackboneSettings = BackboneSettings()
    rpn: RpnSettings = RpnSettings()
    heads: HeadSettings = HeadSettings()
    detect: DetectSettings = DetectSettings()
