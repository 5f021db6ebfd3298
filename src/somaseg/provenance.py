"""What a result was made with: versions of packages, content of files."""

import platform
from collections.abc import Iterable
from importlib.metadata import version

PACKAGES = ("somaseg", "torch", "torchvision", "timm", "numpy")


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python, of the packages that results depend on, and of `more`; none is imported."""
    return {"python": platform.python_version(), **{package: version(package) for package in (*PACKAGES, *more)}}
