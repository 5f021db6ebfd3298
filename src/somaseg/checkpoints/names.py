"""Which files weights are: a name that comes with somaseg, a file, or a folder of the members of an ensemble."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from somaseg.errors import InputError
from somaseg.files import file_sha256

SHIPPED = Path(str(resources.files("somaseg"))) / "weights"
SUFFIX = ".safetensors"
SUMS = "SHA256SUMS"  # beside the weights: lines of `hash  name`, as sha256sum writes and checks them


def shipped_names() -> list[str]:
    """The names of weights that come with somaseg: files, and folders of members."""
    return sorted({path.stem for path in SHIPPED.glob(f"*{SUFFIX}")} | {path.parent.name for path in SHIPPED.glob(f"*/*{SUFFIX}")})


def weights_files(weights: str | Path) -> list[Path]:
    """The files of weights: one of a name or of a file; of a folder all in it, sorted by name, since the first member leads.

    Where a folder has `SHA256SUMS`, its files must be those listed there; their content is not looked at.

    Raises:
        InputError: when there are no such weights, or a folder holds none, or others than are listed.
    """
    name = str(weights)
    places = [SHIPPED / f"{name}{SUFFIX}", SHIPPED / name] if name in shipped_names() else [Path(weights)] if name else []
    for place in places:
        if place.is_file():
            return [place]
        if place.is_dir():
            return _members(place)
    raise InputError(
        f"{name}: no such weights: give a {SUFFIX} file that `somaseg train` wrote, a folder of such files, "
        f"or the name of weights that come with somaseg: {', '.join(shipped_names())}"
    )


def weights_path(weights: str | Path) -> Path:
    """The file of weights that are one model.

    Raises:
        InputError: when there are no such weights, or they are several models.
    """
    files = weights_files(weights)
    if len(files) > 1:
        raise InputError(f"{weights}: holds {len(files)} models, expected one: give a file, such as {files[0]}")
    return files[0]


def known_hash(path: Path) -> str | None:
    """The SHA-256 of a file in SHA256SUMS beside it, in lower case; None where there is none."""
    return _sums(path.parent).get(path.name)


def check_hash(path: Path, sha256: str) -> None:
    """Raise InputError when SHA256SUMS beside a file says that it has another hash."""
    if (expected := known_hash(path)) not in (None, sha256):
        raise InputError(
            f"{path}: its SHA-256 is {sha256}, {SUMS} beside it says {expected}: the file was changed or cut off, copy it again"
        )


def sums_text(files: Sequence[Path]) -> str:
    """What SHA256SUMS beside the files says of them."""
    return "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)


def _members(folder: Path) -> list[Path]:
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise InputError(f"{folder}: holds no weights: expected {SUFFIX} files, one a member of the ensemble")
    listed, there = {name for name in _sums(folder) if name.endswith(SUFFIX)}, {path.name for path in files}
    if listed and listed != there:
        missing = ", ".join(sorted(listed - there))
        problem = f"{missing}: is missing" if missing else f"{', '.join(sorted(there - listed))}: is not listed"
        raise InputError(f"{folder / SUMS}: {problem}: give the folder just the files of the ensemble, and a line for each")
    return files


def _sums(folder: Path) -> dict[str, str]:
    file = folder / SUMS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    pairs = [line.split(maxsplit=1) for line in lines]
    return {pair[1].strip().lstrip("*"): pair[0].lower() for pair in pairs if len(pair) == 2}
