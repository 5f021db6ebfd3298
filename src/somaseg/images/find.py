"""Find image files: in folders, by globs and by name; what is left out is told with its reason."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from somaseg.errors import InputError
from somaseg.images.decoders.kinds import READ, kind_of
from somaseg.images.decoders.ome_sets import set_of
from somaseg.images.frame import image_stem
from somaseg.images.microscopes import MICROSCOPE_SUFFIXES
from somaseg.images.regions.ome_zarr import zarr_node

TIFF_SUFFIXES = (".tif", ".tiff")
OTHER_TIFF_SUFFIXES = (".lsm", ".btf", ".tf8", ".tf2")
JPEG_2000_SUFFIXES = (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc")
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".apng", ".bmp", ".dib", ".gif", ".webp"),
    *(*JPEG_2000_SUFFIXES, *TIFF_SUFFIXES, *OTHER_TIFF_SUFFIXES, *MICROSCOPE_SUFFIXES),
)
# Suffixes of other images, which are named rather than passed over; what bears none of these is told by its content.
OTHER_SUFFIXES = (
    *(".jxl", ".heic", ".heif", ".avif", ".jxr", ".dcm", ".oib", ".oif", ".oir", ".vsi", ".zvi", ".ims", ".lof", ".xlif", ".nii"),
    *(".nrrd", ".mrc", ".dm3", ".dm4", ".fits", ".fit", ".pgm", ".ppm", ".pbm", ".pnm", ".exr", ".ics", ".ids", ".stk", ".flex", ".svg"),
    *(".psd", ".ico", ".h5", ".zarr", ".svs", ".ndpi", ".scn", ".bif", ".qptiff", ".raw", ".dng", ".cr2", ".nef", ".tga"),
)
ALWAYS_LEFT = ("_cp_masks", "_cp_output", "_cp_outlines", "_flows", "_overlay")  # of Cellpose, and ours
OF_AN_IMAGE = ("_labels", "_label", "_masks", "_mask", "_seg", "_outlines")  # left out beside the image that they belong to
LABEL_FOLDERS = ("labels", "label", "masks", "mask")
EXPORT_FOLDERS = ("outlines", "imagej", "qupath", "cellpose", "cellpose-masks", "ome-tiff", "ome-zarr")
RESULT_FOLDERS = ("labels", "overlays", "pictures", *EXPORT_FOLDERS)  # that `segment`, `pseudo` and `export` make
RESULT_FILES = ("run.json", "instances.json", "coco")  # by one of which the folder above them is known
REPORT_PICTURES = {"precision.png": "metrics.json", "response.png": "tuning.json"}  # of `evaluate` and `tune`, and what lies beside them


@dataclass(frozen=True)
class Found:
    """Image files, and what looked like one and is not among them.

    Attributes:
        files: sorted, each once.
        left_out: reasons by path as text, whose letters can all be written.
        failures: what is wrong with images that cannot be taken, by path as text.
    """

    files: list[Path]
    left_out: dict[str, str]
    failures: dict[str, str] = field(default_factory=dict)


@dataclass
class _Search:
    """What was met so far: files by their place on the disk, folders that were gone through, reasons."""

    files: dict[Path, Path] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def leave(self, path: Path, reason: str) -> None:
        self.left_out[printable(path)] = reason


def printable(path: str | Path) -> str:
    r"""A path as text that can be written anywhere; bytes that are no letters, which some disks keep in names, become \x.."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Image files named by files, folders (searched recursively) and globs; sorted, each once; see `list_images`.

    Raises:
        InputError: when a path matches no image.
    """
    return list_images(paths).files


def list_images(paths: Sequence[str | Path]) -> Found:
    """Image files named by files, folders (searched recursively, also through links) and globs, and what was left out.

    A file that is named itself is taken whatever it is called, if its content is an image. Of folders and globs are left out: hidden
    files, results of an earlier run, masks, outlines and overlays of other programs, further files of an OME-TIFF in several files,
    links that lead nowhere or to what is there already, and images of formats that are not read.

    Raises:
        InputError: when a path matches no image.
    """
    search = _Search()
    for given in paths:
        path, before = Path(given), len(search.left_out)
        try:
            is_folder = path.is_dir()
        except OSError as error:  # such as a name that is too long
            raise InputError(f"{printable(given)}: cannot be opened ({error.strerror}): check the path") from error
        if is_folder and zarr_node(path) == "image":
            matches = [path] if _has_text_for_name(path, search) else []
        elif is_folder:
            matches = _leave_leftovers(list(_walk(path, search)), path, search)
        elif path.exists():
            matches = [path] if _is_image_file(path) and _has_text_for_name(path, search) else []
        elif path.is_symlink():
            raise InputError(f"{printable(path)}: is a link that leads nowhere: check where it points")
        elif glob.has_magic(str(given)):
            pattern = str(path.relative_to(path.anchor))
            hits = [p for p in Path(path.anchor or ".").glob(pattern) if p.is_file() or zarr_node(p) == "image"]
            matches = _leave_leftovers([p for p in hits if p.is_dir() or _is_wanted(p, search)], _fixed_part(path), search)
        else:
            raise InputError(f"{printable(given)}: no such file or folder: check the path")
        if not matches:
            left = "; ".join(f"{name}: {reason}" for name, reason in [*search.left_out.items()][before : before + 3])
            left = "; ".join([left, *search.failures.values()]) if search.failures else left
            expected = f"expected files that end in {', '.join(IMAGE_SUFFIXES)}"
            raise InputError(f"{printable(given)}: holds no image: {expected}{f' (left out: {left})' if left else ''}")
        for match in matches:
            _take(match, search)
    files = _one_of_each_set(sorted(search.files.values()), search)
    return Found(files, dict(sorted(search.left_out.items())), search.failures)


def _take(path: Path, search: _Search) -> None:
    """Note a file, unless it is there already; a link is the one left out."""
    place = path.resolve()
    first = search.files.setdefault(place, path)
    if first == path:
        return
    if first.is_symlink() and not path.is_symlink():
        search.files[place], path, first = path, first, path
    if path.is_symlink():
        search.leave(path, f"is the same file as {printable(first)}")


def _walk(folder: Path, search: _Search) -> Iterator[Path]:
    """Image files below a folder; each folder is gone through once, however many links lead to it."""
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=lambda error: _unreadable(error, search)):
        place = Path(parent).resolve()
        if place in search.folders:
            search.leave(Path(parent), "is a folder that was searched already")
            folders.clear()
            continue
        search.folders.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        nodes = {name: zarr_node(Path(parent, name)) for name in folders}
        yield from (path for name in folders if nodes[name] == "image" and _has_text_for_name(path := Path(parent, name), search))
        if zarr_node(Path(parent)) is not None:  # its files are its own, and so are its arrays
            folders[:], names = [name for name in folders if nodes[name] == "group"], []
            continue
        for name in folders:
            if nodes[name] == "array":
                search.leave(Path(parent, name), "is a Zarr array without the description that OME-Zarr images have")
        folders[:] = [name for name in folders if nodes[name] in (None, "group")]
        yield from (path for name in sorted(names) if _is_wanted(path := Path(parent, name), search))
    search.folders.clear()  # two arguments may name one folder


def _unreadable(error: OSError, search: _Search) -> None:
    search.leave(Path(error.filename), f"cannot be opened ({error.strerror})")


def _is_wanted(path: Path, search: _Search) -> bool:
    """Whether a file of a folder is an image by its name; notes those that look like one and are not taken."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        if path.name.startswith("."):
            if not path.name.startswith("._"):  # which a Mac writes beside every file
                search.leave(path, "is hidden")
        elif path.is_symlink() and not path.exists():
            search.leave(path, "is a link that leads nowhere")
        elif not path.is_file():
            search.leave(path, "is no regular file")
        else:
            return _has_text_for_name(path, search)
    elif suffix in OTHER_SUFFIXES or (path.is_file() and not path.name.startswith(".") and _content(path) in READ):
        kind = _content(path)
        known = f"is a {kind} image under another suffix: rename it" if kind in READ else f"images of the kind {suffix} are not read"
        search.leave(path, known)
    return False


def _has_text_for_name(path: Path, search: _Search) -> bool:
    """Whether the name can be written into results; notes those that cannot."""
    if printable(path) == str(path):
        return True
    name = printable(path)
    search.failures[name] = f"{name}: has a name that is no UTF-8, so that no result can be named after it: rename it"
    return False


def _content(path: Path) -> str | None:
    try:
        return kind_of(path) if path.is_file() else None
    except OSError:
        return None


def _is_image_file(path: Path) -> bool:
    return path.is_file() and (path.suffix.lower() in IMAGE_SUFFIXES or _content(path) is not None)


def _fixed_part(pattern: Path) -> Path:
    """The folder that a glob names before its first wildcard."""
    parts = pattern.parts
    return Path(*parts[: next(n for n, part in enumerate(parts) if glob.has_magic(part))])


def _leave_leftovers(files: list[Path], given: Path, search: _Search) -> list[Path]:
    """The files that are pictures of cells; results, masks and the like are noted and left out, unless their very folder was given."""
    stems: dict[str, set[Path]] = {}
    for path in files:
        stems.setdefault(image_stem(path), set()).add(path.parent)
    taken = []
    for path in files:
        reason = _leftover(path, path.parent != given, stems)
        if reason is None:
            taken.append(path)
        else:
            search.leave(path, reason)
    return taken


def _leftover(path: Path, below: bool, stems: dict[str, set[Path]]) -> str | None:
    """Why a file of a folder, or of one below it, is no picture of cells; None where it is one."""
    stem, parent = image_stem(path), path.parent
    if below and parent.name in RESULT_FOLDERS and any((parent.parent / name).exists() for name in RESULT_FILES):
        return "is a result of an earlier run"
    if path.name in REPORT_PICTURES and (parent / REPORT_PICTURES[path.name]).exists():
        return "is a picture of an earlier report"
    ending = next((end for end in ALWAYS_LEFT if stem.endswith(end)), None)
    if ending is not None and stem != ending:
        return f"ends in {ending}, as files do that segmentation programs write"
    ending = next((end for end in OF_AN_IMAGE if stem.endswith(end)), None)
    if ending is not None and stem.removesuffix(ending) in stems:
        return f"ends in {ending} and belongs to the image {stem.removesuffix(ending)}"
    if below and parent.name in LABEL_FOLDERS and stems[stem] - {parent}:
        return f"lies in a folder {parent.name} and belongs to the image {stem}"
    return None


def _one_of_each_set(files: list[Path], search: _Search) -> list[Path]:
    """Without the further files of OME-TIFFs in several files, since the first of them reads all."""
    first_of: dict[Path, Path] = {}
    taken = []
    for path in files:
        first = first_of.get(path.resolve())
        if first is not None:
            search.leave(path, f"is part of the OME-TIFF that {printable(first)} is read with")
            continue
        taken.append(path)
        if path.suffix.lower() in TIFF_SUFFIXES:
            for other in set_of(path):
                first_of.setdefault(other.resolve(), path)
    return taken
