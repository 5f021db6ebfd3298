"""Find the image files that an annotation names, as Windows, other machines and web addresses write their names."""

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from somaseg.images.read import IMAGE_SUFFIXES, frame_name, image_stem

Parts = tuple[str, ...]
MOST_ASKED, MOST_COMPARED = 10, 5000
ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")


@dataclass(frozen=True)
class Found:
    """Which file a name means.

    Attributes:
        path: the file; where it should be when it is not there or not certain.
        choices: files that may be meant where several fit alike, else files whose names are near, from the folder on.
        certain: whether `path` is that file, or no file fits.
    """

    path: Path
    choices: tuple[str, ...] = ()
    certain: bool = True


class ImageFolder:
    """The image files under one folder; the folder need not be there, and is searched when a name is not found at its place.

    Args:
        folder: where the images are.
        without: a subfolder whose files are no images of cells, such as `labels`.
        skip: names of files that are no images of cells.
    """

    def __init__(self, folder: Path, without: Path | None = None, skip: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self._without = without
        self._skip = skip
        self._asked = 0

    @cached_property
    def _by_name(self) -> dict[str, list[Parts]]:
        """Paths from the folder on, by their last part and its stem, both plain."""
        found: dict[str, list[Parts]] = {}
        for parent, folders, names in os.walk(self.folder):
            folders.sort()
            if Path(parent) == self._without:
                continue
            below = Path(parent).relative_to(self.folder).parts
            for name in sorted(names):
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".") and name not in self._skip:
                    for key in {_plain(name), _plain(image_stem(name))}:
                        found.setdefault(key, []).append((*below, name))
        return found

    def find(self, name: str) -> Found:
        """The file called `name`: a path, a file name in any subfolder, or a stem.

        A path that is there from the folder on is it. Else the file is it whose last parts agree with most of the last parts of
        the name: letter by letter, then without regard to case and to how letters with accents are written.
        """
        if name and is_file(self.folder / name) and Path(name).name not in self._skip:
            return Found(self.folder / name)
        parts = tuple(part for part in name_parts(name) if part != "..")
        place = self.folder.joinpath(*parts)
        if not parts or (is_file(place) and parts[-1] not in self._skip):
            return Found(place)
        near = self._by_name.get(_plain(parts[-1]), [])
        scores = [(_shared_end(parts, file), sum(a == b for a, b in zip(parts[::-1], file[::-1], strict=False))) for file in near]
        best = [file for file, score in zip(near, scores, strict=True) if score == max(scores)]
        if len(best) == 1:
            return Found(self.folder.joinpath(*best[0]))
        if best:
            return Found(place, tuple("/".join(file) for file in sorted(best)), certain=False)
        return Found(place, self._names_near(parts[-1]))

    def _names_near(self, name: str) -> tuple[str, ...]:
        """Files of similar names; comparing letters is slow, so only for the first names that are asked for."""
        if self._asked >= MOST_ASKED or len(self._by_name) > MOST_COMPARED:
            return ()
        self._asked += 1
        stems = difflib.get_close_matches(_plain(image_stem(name)), self._by_name, 3)
        return tuple(dict.fromkeys("/".join(file) for stem in stems for file in self._by_name[stem]))


def name_parts(name: str) -> Parts:
    """The parts of a file name as an annotation writes it, without what belongs to the machine or the server it was written on.

    Backslashes part folders; a drive letter, a leading slash, a server with its scheme, what follows `?` in a web address, single
    dots, and spaces around go; `%20` and its like become what they stand for.
    """
    text = name.strip()
    if ADDRESS.match(text):
        text = text.partition("://")[2].partition("/")[2]
    if "?" in text:
        text = _without_query(text)
    if ESCAPE.search(text):
        text = unquote(text)
    text = re.sub(r"^[a-zA-Z]:(?=[\\/])", "", text.replace("\\", "/"))
    parts: list[str] = []
    for part in text.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part.strip() not in ("", "."):
            parts.append(part.strip())
    return tuple(parts)


def _without_query(text: str) -> str:
    """A path without what follows `?`; the image in it, as in `?d=plate1/field.png`, when the path is of none."""
    path, _, query = text.partition("?")
    if path.lower().endswith(IMAGE_SUFFIXES):
        return path
    values = [value.partition("#")[0] for part in query.split("&") for value in (part.partition("=")[2],)]
    return next((value for value in values if value.lower().endswith(IMAGE_SUFFIXES)), text)


def sample_names(files: Sequence[str], pages: Sequence[int | None]) -> list[str]:
    """What to call images: the stem of their file, with the page of a stack, and as many folders before it as tell it from others."""
    found = [name_parts(file) or (file,) for file in files]
    ends = [frame_name(Path(parts[-1]), page) for parts, page in zip(found, pages, strict=True)]
    names = list(ends)
    alike: dict[str, list[int]] = {}
    for i, end in enumerate(ends):
        alike.setdefault(end, []).append(i)
    for end, members in alike.items():
        depth = 1
        longest = max(len(found[i]) for i in members)
        while len({found[i][-depth:-1] for i in members}) < len(members) and depth <= longest:
            depth += 1
        for i in members:
            names[i] = "/".join([*found[i][-depth:-1], end])
    counts = Counter(names)
    for i, (name, parts, page) in enumerate(zip(names, found, pages, strict=True)):
        if counts[name] > 1:  # they differ in nothing but the suffix
            names[i] = "/".join([*parts[:-1], frame_name(Path(f"{parts[-1]}.x"), page)])
    return names


def name_key(name: str) -> str:
    """The same for two names of images that differ in case, in how accents are written, or in the signs between folders."""
    return _plain(unquote(name).replace("\\", "/").replace("/", "_").strip())


def pair_names(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Which of the known names of images each name means, where one does.

    The very name is taken first, then one with the same `name_key`, then a name without folders for one with folders whose last part
    is the same; each only where no other name can be meant.
    """
    left, open_to = list(dict.fromkeys(names)), list(dict.fromkeys(known))
    paired: dict[str, str] = {}
    for key in (str, name_key, _last_key):
        meant = _by_key(open_to, key)
        for one, alike in _by_key(left, key).items():
            matches = meant.get(one, [])
            if len(alike) == len(matches) == 1 and (key is not _last_key or "/" not in alike[0] or "/" not in matches[0]):
                paired[alike[0]] = matches[0]
        left = [name for name in left if name not in paired]
        taken = set(paired.values())
        open_to = [name for name in open_to if name not in taken]
    return paired


def _last_key(name: str) -> str:
    return name_key(name.rpartition("/")[2])


def _by_key(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(key(name), []).append(name)
    return found


def sibling_images(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of the subfolders `names` that exists, else the folder itself."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _shared_end(parts: Parts, other: Parts) -> int:
    """How many last parts two paths share; the very last counts as shared."""
    count = 1
    for one, two in zip(parts[-2::-1], other[-2::-1], strict=False):
        if _plain(one) != _plain(two):
            break
        count += 1
    return count


def is_file(path: Path) -> bool:
    """Whether a file is there; false, not an error, for names that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for names that are too long
