"""The truth of one training crop, as the network's losses read it."""

from typing import TypedDict

from torch import Tensor


class Target(TypedDict):
    """Tensors of the N cells of a crop, in pixels of the network's input.

    boxes: float32 (N, 4), x0 y0 x1 y1. labels: int64 (N,). mask_boxes: int64 (N, 4), where each mask's crop lies.
    mask_pixels: uint8, the pixels of all crops row by row, end to end.
    ignored: float32 (M, 4), boxes of what may be a cell or not. weight: float32 scalar, what the crop's losses are multiplied by.
    """

    boxes: Tensor
    labels: Tensor
    mask_boxes: Tensor
    mask_pixels: Tensor
    ignored: Tensor
    weight: Tensor
