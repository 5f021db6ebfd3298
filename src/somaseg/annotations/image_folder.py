"""Find the image files that an annotation names."""

import os
from pathlib import Path

from somaseg.errors import InputError
from somaseg.images.read import IMAGE_SUFFIXES, image_stem


class ImageFolder:
    """The image files under one folder, found by relative path, file name or stem; the folder need not be there.

    Args:
        folder: where the images are.
        without: a subfolder whose files are no images of cells, such as `labels`.
    """

    def __init__(self, folder: Path, without: Path | None = None) -> None:
        self.folder = folder
        self._paths: set[str] = set()
        self._by_name: dict[str, list[str]] = {}
        for parent, _, names in os.walk(folder):
            if Path(parent) == without:
                continue
            below = Path(parent).relative_to(folder).as_posix()
            for name in names:
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                    path = name if below == "." else f"{below}/{name}"
                    self._paths.add(path)
                    for key in {name, image_stem(name)}:
                        self._by_name.setdefault(key, []).append(path)

    def find(self, name: str) -> Path:
        """The file called `name` (a relative path, a file name in any subfolder, or a stem); where it should be if absent.

        Raises:
            InputError: when two subfolders hold a file of that name.
        """
        if name in self._paths:
            return self.folder / name
        matches = self._by_name.get(name) or self._by_name.get(name.rpartition("/")[2], [])
        if len(matches) > 1:
            first, second, *_ = sorted(matches)
            raise InputError(f"{self.folder}: {name} could be {first} or {second}: name the image with its subfolder")
        return self.folder / (matches[0] if matches else name)


def sibling_images(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of the subfolders `names` that exists, else the folder itself."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)
