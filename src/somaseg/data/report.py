"""How a check is shown: plain data for JSON, tables for the screen."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.markup import escape
from rich.table import Table

from somaseg.config import TrainedSize
from somaseg.data.check import Check, ImageCheck
from somaseg.data.repair import Change
from somaseg.files import write_whole
from somaseg.magnification.annotated import beside, measured
from somaseg.magnification.sizes import diameters

PERCENTILES = (5, 25, 50, 75, 95)


def check_json(result: Check, changes: Sequence[Change]) -> dict[str, Any]:
    """All numbers, problems and repairs, by image and in sum, as plain JSON types; areas and median diameters in pixels."""
    by_image: dict[str | None, list[dict[str, Any]]] = {}
    for problem in result.problems:
        by_image.setdefault(problem.image, []).append({"kind": problem.kind, "index": problem.index, "message": problem.message})
    return {
        "sum": {**_numbers(result.images), "images": len(result.images), "problems": dict(Counter(p.kind for p in result.problems))},
        "images": [{"name": image.name, **_numbers([image]), "problems": by_image.get(image.name, [])} for image in result.images],
        "problems_without_image": by_image.get(None, []),
        "changes": [{"action": change.action, "image": change.image, "index": change.index, "found": change.found} for change in changes],
    }


def _numbers(images: Sequence[ImageCheck]) -> dict[str, Any]:
    areas = _areas(images)
    return {
        "cells": {name: len(values) for name, values in areas.items()},
        "area": {
            name: {f"p{p}": round(float(v), 1) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
            for name, values in areas.items()
        },
        "diameter": {name: round(float(np.median(diameters(values))), 2) for name, values in areas.items()},
        "overlapping_share": _share(images),
        "in_pieces": sum(image.in_pieces for image in images),
    }


def _areas(images: Sequence[ImageCheck]) -> dict[str, list[int]]:
    areas: dict[str, list[int]] = {}
    for image in images:
        for name, values in image.areas.items():
            areas.setdefault(name, []).extend(values)
    return areas


def _share(images: Sequence[ImageCheck]) -> float:
    """Share of the foreground that lies under two cells or more, 0 without foreground."""
    foreground = sum(image.foreground for image in images)
    return sum(image.overlapping for image in images) / foreground if foreground else 0.0


def class_table(result: Check) -> Table:
    """Images, cells and areas in pixels, a column for each class and one for all."""
    names = list(_areas(result.images))
    columns = {name: _column(result.images, name) for name in names} | ({} if len(names) == 1 else {"all": _column(result.images, None)})
    table = Table("", title="Cells by class", title_justify="left")
    for name in columns:
        table.add_column(escape(name), justify="right", no_wrap=True)
    for label in next(iter(columns.values())):
        table.add_row(label, *(column[label] for column in columns.values()))
    return table


def _column(images: Sequence[ImageCheck], name: str | None) -> dict[str, str]:
    """Numbers of one class over the images that have it, or of all classes over all images."""
    chosen = [image for image in images if name is None or name in image.areas]
    cells = [[area for key, areas in image.areas.items() if name in (None, key) for area in areas] for image in chosen]
    areas = [area for inside in cells for area in inside]
    percentiles = np.percentile(areas, PERCENTILES) if areas else None
    return {
        "images": str(len(chosen)),
        "cells": str(len(areas)),
        "cells an image, median": f"{np.median([len(inside) for inside in cells]):g}" if cells else "-",
        **{f"area, percentile {p}": "-" if percentiles is None else f"{percentiles[i]:.0f}" for i, p in enumerate(PERCENTILES)},
        "diameter in px, median": "-" if percentiles is None else f"{float(np.median(diameters(areas))):.1f}",
        "foreground under several cells": f"{_share(chosen):.1%}",
        "cells in several pieces": str(sum(image.in_pieces for image in chosen)),
    }


def sizes_beside(result: Check, known: TrainedSize) -> str:
    """What to know where annotated cells are not as large as those that weights know; else nothing."""
    samples = result.samples
    compared = beside(measured([s.instances for s in samples], [s.pixel_size for s in samples]), known)
    if not compared.differs:
        return ""
    return f"{compared.text}: train and finetune show the images at {compared.zoom:.3g} of the size (train.magnification)"


def problem_table(result: Check) -> Table:
    """How many problems of each kind, in how many images."""
    table = Table("problem", title="Problems", title_justify="left")
    table.add_column("number", justify="right")
    table.add_column("images", justify="right")
    for kind, number in Counter(p.kind for p in result.problems).most_common():
        table.add_row(kind, str(number), str(len({p.image for p in result.problems if p.kind == kind})))
    return table


def problem_lines(result: Check, most: int = 3) -> list[str]:
    """The first problems of each kind in full, a line each."""
    lines = []
    for kind, number in Counter(p.kind for p in result.problems).most_common():
        of_kind = [p.message for p in result.problems if p.kind == kind]
        lines += [f"{kind}: {message}" for message in of_kind[:most]]
        lines += [f"{kind}: {number - most} more, all of them with --json"] if number > most else []
    return lines


def image_table(result: Check, rows: int = 20) -> Table:
    """The images with the most problems."""
    counts = Counter(p.image for p in result.problems if p.image is not None)
    more = f" ({len(counts)} images have problems)" if len(counts) > rows else ""
    table = Table("image", title=f"Images with the most problems{more}", title_justify="left")
    table.add_column("cells", justify="right")
    table.add_column("overlapping", justify="right")
    table.add_column("in pieces", justify="right")
    table.add_column("problems")
    numbers = {image.name: image for image in result.images}
    for name, _ in counts.most_common(rows):
        image = numbers[name]
        kinds = Counter(p.kind for p in result.problems if p.image == name)
        listed = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        table.add_row(escape(name), str(sum(map(len, image.areas.values()))), f"{_share([image]):.1%}", str(image.in_pieces), listed)
    return table


def change_table(changes: Sequence[Change]) -> Table:
    """How many repairs of each kind, in how many images."""
    table = Table("repair", title="Changed in the repaired copy", title_justify="left")
    table.add_column("number", justify="right")
    table.add_column("images", justify="right")
    for action, number in Counter(change.action for change in changes).most_common():
        table.add_row(action, str(number), str(len({change.image for change in changes if change.action == action})))
    return table


def change_lines(changes: Sequence[Change], most: int = 100) -> list[str]:
    """What was done to each cell, a line each."""
    lines = [f"{change.action}: {change.found}" for change in changes[:most]]
    return [*lines, *([f"{len(changes) - most} more: the copy tells all under info, changes"] if len(changes) > most else [])]


def write_json(result: Check, changes: Sequence[Change], path: Path) -> None:
    """Write `check_json` to a file."""
    write_whole(path, orjson.dumps(check_json(result, changes), option=orjson.OPT_INDENT_2))
