"""Find the image files that an annotation names."""

from pathlib import Path

from somaseg.data.images import image_stem, is_image
from somaseg.errors import InputError


class ImageFolder:
    """The image files under one folder, found by relative path, file name or stem; the folder need not be there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = sorted(p for p in folder.rglob("*") if is_image(p)) if folder.is_dir() else []
        self._by_path = {p.relative_to(folder).as_posix(): p for p in files}
        self._by_key: dict[str, list[Path]] = {}
        for path in files:
            for key in {path.name, image_stem(path)}:
                self._by_key.setdefault(key, []).append(path)

    def find(self, name: str) -> Path:
        """The file called `name` (a relative path, a file name in any subfolder, or a stem); where it should be if absent.

        Raises:
            InputError: when two subfolders hold a file of that name.
        """
        if name in self._by_path:
            return self._by_path[name]
        matches = self._by_key.get(name) or self._by_key.get(Path(name).name, [])
        if len(matches) > 1:
            raise InputError(f"{self.folder}: {name} could be {matches[0]} or {matches[1]}: name the image with its subfolder")
        return matches[0] if matches else self.folder / name


def sibling_images(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of the subfolders `names` that exists, else the folder itself."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)
