"""A COCO file before its masks are decoded: images, classes, and which annotations belong to which image."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from somaseg.annotations.image_folder import name_parts
from somaseg.annotations.samples import Problem
from somaseg.classes import plain
from somaseg.errors import InputError, shown
from somaseg.limits import check_pixels
from somaseg.masks.crops import Size
from somaseg.texts.json_text import read_json_values

LISTS = ("images", "annotations", "categories")
WHOLE = re.compile(r"-?(0|[1-9]\d{0,39})(\.0*)?")
UNKNOWN = "unknown"
"""The class of a cell whose category is none of the file's, in a repaired copy."""

Key = int | str


@dataclass(frozen=True)
class CocoImage:
    """An image of a COCO file.

    Attributes:
        key: its id, see `id_key`.
        file_name: as the file has it.
        size: (height, width).
        page: number of the page in a stack, or None.
        place: where it stands in the file, for messages.
        fields: all that the file says of it.
    """

    key: Key
    file_name: str
    size: Size
    page: int | None
    place: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class CocoDocument:
    """A COCO file.

    Attributes:
        images: in the order of the file.
        rows: numbers of the annotations of each image.
        annotations: as the file has them.
        classes: class names.
        labels: class of each annotation by its number, -1 where its category is none of the file's.
        problems: annotations that belong to no image, and what else is wrong before any mask is read.
    """

    images: list[CocoImage]
    rows: list[list[int]]
    annotations: Sequence[Any]
    classes: tuple[str, ...]
    labels: list[int]
    problems: list[Problem] = field(default_factory=list)


def load_coco(path: Path) -> CocoDocument:
    """Read a COCO file; lists may be dicts by id, ids numbers or text, sizes whole floats.

    Several documents behind each other, as in JSON lines, are one when they share no image and agree on categories.

    Raises:
        InputError: when the file is no COCO, or an image or a category has no meaning.
    """
    data = _joined(path, read_json_values(path))
    lists = {name: _list(path, data, name) for name in LISTS}
    annotations = lists["annotations"]
    problems: list[Problem] = []
    images = _images(path, lists["images"], problems)
    classes, label_of = _classes(path, lists["categories"], annotations, problems)
    rows_of: dict[Key, list[int]] = {image.key: [] for image in images}
    by_name = _keys_by_name(images)
    labels = []
    for row, annotation in enumerate(annotations):
        is_one = isinstance(annotation, dict)
        labels.append(_label(annotation, label_of, classes) if is_one else -1)
        key = annotation.get("image_id") if is_one else None
        key = key if type(key) is int else id_key(key)
        rows = rows_of.get(key) if key is not None else None
        if rows is None and isinstance(key, str):
            rows = rows_of.get(by_name.get(_name_key(key), key))
        if rows is not None:
            rows.append(row)
            continue
        place = f"{path}: annotations[{row}]"
        if not is_one:
            message = f"{place}: found {shown(annotation)}, expected the fields of a cell: delete it"
            problems.append(Problem("no annotation", message, fatal=True, raw=annotation))
        else:
            found = shown(annotation["image_id"]) if "image_id" in annotation else "nothing"
            message = f"{place}, image_id: found {found}, which names no image of the file: correct it or delete the annotation"
            problems.append(Problem("unknown image", message, fatal=True, raw=annotation))
    return CocoDocument(images, [rows_of[image.key] for image in images], annotations, classes, labels, problems)


def id_key(value: Any) -> Key | None:
    """What an id is compared by, so that 1, 1.0, "1" and "1.0" are one; None for what is no id."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        text = value.strip()
        return int(text.partition(".")[0]) if WHOLE.fullmatch(text) else text or None
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else str(value)
    return None


def is_ignored(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation is a crowd (`iscrowd`) or another region that may be a cell or not (`ignore`)."""
    crowd, ignore = annotation.get("iscrowd"), annotation.get("ignore")
    return bool((crowd and _is_set(crowd)) or (ignore and _is_set(ignore)))


def _is_set(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() in ("1", "1.0", "true", "yes")
    return isinstance(value, (int, float)) and value == value and value != 0


def whole_number(value: Any) -> int | None:
    """A whole number, which may be a float or text of such; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value.strip().partition(".")[0]) if WHOLE.fullmatch(value.strip()) else None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    return value if isinstance(value, int) else None


def _joined(path: Path, values: Sequence[Any]) -> dict[str, Any]:
    first = values[0]
    if all(isinstance(value, dict) and "image_id" in value for value in values) or isinstance(first, list):
        raise InputError(
            f"{path}: is a list of results, without images and their sizes: give it to `somaseg evaluate` or `somaseg compare` beside "
            "the annotations that its image_id refer to"
        )
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise InputError(f"{path}: {shown(value)} is no COCO file: expected images, annotations, categories")
        if number:
            first = {**first, **{name: [*_list(path, first, name), *_list(path, value, name)] for name in LISTS}}
    return dict(first)


def _list(path: Path, data: Mapping[str, Any], name: str) -> list[Any]:
    """One of `LISTS`; what is a dict by id becomes a list of what stands in it, each with its id."""
    value = data.get(name)
    if value is None and name == "categories":
        return []
    if isinstance(value, dict):
        value = [{"id": key, **one} if isinstance(one, dict) else one for key, one in value.items()]
    if not isinstance(value, list):
        raise InputError(
            f"{path}: {name}: found {type(value).__name__}, expected a list: give a COCO file with images, annotations, categories"
        )
    return value


def _images(path: Path, given: Sequence[Any], problems: list[Problem]) -> list[CocoImage]:
    """The images; one that stands there twice with one id is one."""
    images: dict[Key, CocoImage] = {}
    for number, fields in enumerate(given):
        image = _image(path, number, fields)
        first = images.setdefault(image.key, image)
        if first is image:
            continue
        if (_name_key(first.file_name), first.page, first.size) != (_name_key(image.file_name), image.page, image.size):
            raise InputError(f"{image.place}, id: {shown(image.fields['id'])} is the id of an earlier image: give each its own")
        message = f"{image.place}: lists {image.file_name} a second time, with the same id {shown(image.fields['id'])} as {first.place}"
        problems.append(Problem("image listed twice", f"{message}: it counts once"))
    return list(images.values())


def _image(path: Path, number: int, image: Any) -> CocoImage:
    place = f"{path}: images[{number}]"
    expected = "every image needs id, file_name, width and height"
    if not isinstance(image, dict):
        raise InputError(f"{place}, id: found {shown(image)}: {expected}")
    key = id_key(image.get("id"))
    name = image.get("file_name")
    width, height = whole_number(image.get("width")), whole_number(image.get("height"))
    good = {
        "id": key is not None,
        "file_name": isinstance(name, str) and is_file_name(name),
        "width": width is not None and width > 0,
        "height": height is not None and height > 0,
    }
    for wanted, valid in good.items():
        if not valid:
            raise InputError(f"{place}, {wanted}: found {shown(image.get(wanted))}: {expected}")
    check_pixels(place, height or 0, width or 0)
    page = image.get("page")
    number_of_page = whole_number(page)
    if not _is_absent(page) and (number_of_page is None or not 0 <= number_of_page < 10**9):
        raise InputError(f"{place}, page: found {shown(page)}, expected the number of a page from 0")
    for wanted in ("cell_type", "group", "field_group"):
        if not _is_absent(image.get(wanted)) and not isinstance(image[wanted], (str, int, float)):
            raise InputError(f"{place}, {wanted}: found {shown(image[wanted])}, expected a text or a number")
    try:
        orjson.dumps(image)
    except TypeError as error:
        raise InputError(f"{place}: holds a field that cannot be kept ({error}): delete it") from error
    return CocoImage(key or 0, str(name), (height or 0, width or 0), number_of_page, place, image)


def is_file_name(name: str) -> bool:
    """Whether a text can be the name of an image: it has a last part, and letters that file names have."""
    parts = name_parts(name)
    return bool(parts) and parts[-1] != ".." and "\0" not in name and not _is_broken(name)


def _is_broken(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_absent(value: Any) -> bool:
    """Whether a field has no value: null, or the NaN that tables give for it."""
    return value is None or value != value


def text_of(value: Any) -> str | None:
    """The text of a field of an image, None where it has no value."""
    return None if _is_absent(value) else str(value)


def pixel_size_of(image: CocoImage) -> float | None:
    """The edge of a pixel in µm that the file gives for an image.

    Raises:
        InputError: when it is no length.
    """
    value = image.fields.get("pixel_size")
    if _is_absent(value):
        return None
    try:
        size = float(str(value))
    except (TypeError, ValueError, OverflowError):
        size = math.nan
    if isinstance(value, bool) or not 0 < size < math.inf:
        raise InputError(f"{image.place}, pixel_size: found {shown(value)}, expected the edge of a pixel in µm, above 0")
    return size


def _keys_by_name(images: Sequence[CocoImage]) -> dict[str, Key]:
    """Keys of images by the name and the stem of their files, which some files have for ids; without names that several share."""
    found: dict[str, set[Key]] = {}
    for image in images:
        last = name_parts(image.file_name)[-1]
        for name in {_name_key(image.file_name), _name_key(last), _name_key(last.rpartition(".")[0] or last)}:
            found.setdefault(name, set()).add(image.key)
    return {name: next(iter(keys)) for name, keys in found.items() if len(keys) == 1}


def _name_key(name: str) -> str:
    return "/".join(name_parts(name)).casefold()


def _classes(
    path: Path, categories: Sequence[Any], annotations: Sequence[Any], problems: list[Problem]
) -> tuple[tuple[str, ...], dict[Key, int]]:
    """Class names, and the class of each category by its id; classes of one name are one."""
    if not categories:
        return _classes_of_annotations(path, annotations, problems)
    names: list[str] = []
    label_of: dict[Key, int] = {}
    for i, category in enumerate(categories):
        if not isinstance(category, dict) or "id" not in category or "name" not in category:
            raise InputError(f"{path}: categories[{i}]: found {shown(category)}, expected an id and a name")
        key, name = id_key(category["id"]), category["name"]
        if key is None:
            raise InputError(f"{path}: categories[{i}], id: found {shown(category['id'])}, expected a number or a text")
        name = str(name).strip() if isinstance(name, (str, int, float)) else ""
        if not name or _is_broken(name):
            raise InputError(f"{path}: categories[{i}], name: found {shown(category['name'])}, expected a text")
        if name not in names:
            names.append(name)
        if label_of.setdefault(key, names.index(name)) != names.index(name):
            raise InputError(f"{path}: categories[{i}], id: {shown(category['id'])} is the id of an earlier category: give each its own")
    return tuple(names), label_of


def _classes_of_annotations(path: Path, annotations: Sequence[Any], problems: list[Problem]) -> tuple[tuple[str, ...], dict[Key, int]]:
    """Classes of a file without categories: one for each id that its annotations have, named after it."""
    keys = {id_key(a.get("category_id")) for a in annotations if isinstance(a, dict)} - {None}
    ordered = sorted(keys, key=lambda key: (isinstance(key, str), key))
    if len(ordered) > 1 or any(isinstance(key, str) for key in ordered):
        names = [key if isinstance(key, str) else f"category {key}" for key in ordered]
        message = f"{path}: categories: has none, so the classes are named after the category_id: {', '.join(names[:5])}"
        problems.append(Problem("unknown class", message))
    else:
        names = ["cell"]
    return tuple(names), {key: label for label, key in enumerate(ordered) if key is not None}


def _label(annotation: Mapping[str, Any], label_of: Mapping[Key, int], classes: Sequence[str]) -> int:
    """Class of an annotation by the id or the name of its category; the only one where it names none; -1 where there is no such one."""
    value = annotation.get("category_id")
    if type(value) is int and value in label_of:
        return label_of[value]
    if value is None and len(classes) == 1:
        return 0
    key = id_key(value)
    if key is None:
        return -1
    label = label_of.get(key, -1)
    if label < 0 and isinstance(key, str):
        label = next((i for i, name in enumerate(classes) if plain(name) == plain(key)), -1)
    return label
