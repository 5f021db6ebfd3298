"""The size of a resized image."""

from somaseg.masks.crops import Size


def size_by_edge(size: Size, edge: int, longest: int | None = None) -> Size:
    """The size (height, width) of an image whose shorter edge becomes `edge` pixels and whose longer one at most `longest`.

    Detectron2's rule: sides stay floats until both limits are met, halves round up.
    """
    height, width = size
    shorter = min(size)
    sides = (float(edge), edge / shorter * width) if height <= width else (edge / shorter * height, float(edge))
    if longest is not None and max(sides) > longest:
        sides = (sides[0] * (longest / max(sides)), sides[1] * (longest / max(sides)))
    return max(1, int(sides[0] + 0.5)), max(1, int(sides[1] + 0.5))
