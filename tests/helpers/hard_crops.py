"""Training crops of 64 x 64 pixels that losses must cope with, as the boxes of their cells."""

CROPS: dict[str, list[tuple[int, int, int, int]]] = {
    "no cell": [],
    "a cell of one pixel": [(20, 20, 21, 21)],
    "the same cell three times": [(10, 10, 40, 30)] * 3,
    "a cell larger than the crop": [(0, 0, 64, 64)],  # the crop cuts it on all sides
    "a thousand cells": [(x, y, x + 9, y + 7) for x in range(0, 50, 2) for y in range(0, 40)],
    "a crowd of overlaps": [(x, y, x + 20, y + 14) for x in range(0, 44, 4) for y in range(0, 50, 5)],
}
