"""What images are called in a folder of results."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from somaseg.images.frame import frame_tail, image_stem

LONGEST = 200  # bytes of a name; file systems take 255, and a result's file has something behind it


class Names:
    """Names of images, no two alike; a name belongs to the first image that has it.

    Args:
        owner: the resolved image file that a name belongs to from an earlier run; None where there is none.
    """

    def __init__(self, owner: Callable[[str], str | None]) -> None:
        self._owner = owner
        self._taken: set[str] = set()
        self._told_apart: dict[Path, str] = {}

    def tell_apart(self, files: Sequence[Path]) -> None:
        """Call files of one stem by their folders too, `plate1_well_A1` and `plate2_well_A1`, as far as these differ."""
        alike: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files:
            alike[image_stem(path).casefold()].append(path)
        for several in alike.values():
            if len(several) > 1:
                resolved = [path.resolve() for path in several]
                root = os.path.commonpath([path.parent for path in resolved])
                for path, own in zip(several, resolved, strict=True):
                    self._told_apart[path] = "_".join([*own.parent.relative_to(root).parts, image_stem(path)])

    def find(self, path: Path, page: int | None, place: str = "") -> str:
        """What to call an image, as `somaseg.images.frame.frame_name` does, by the file and the page or place in it.

        Where that name belongs to the image of another file, or is too long, it gets a suffix.

        The suffix comes from the path alone, and a name goes to the file that had it in an earlier run, so names stay.
        """
        source = str(path.resolve())
        tail = frame_tail(page, place)
        own, apart = image_stem(path), self._told_apart.get(path)
        stem = own if apart is None or self._owner(own + tail) == source else apart
        if len(os.fsencode(stem)) <= LONGEST:
            name = stem + tail
            owner = None if name in self._taken else self._owner(name)
            if name not in self._taken and (owner is None or owner == source or not Path(owner).exists()):
                return name
        short = os.fsencode(stem)[:LONGEST].decode(errors="ignore")
        return f"{short}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:6]}{tail}"

    def take(self, name: str) -> None:
        """Let no other image of this run have the name."""
        self._taken.add(name)
