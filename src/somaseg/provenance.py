"""What a result was made with: versions of packages, and the record that a run leaves of itself."""

import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

PACKAGES = ("somaseg", "numpy", "onnxruntime", "torch", "torchvision", "timm")


@cache
def own_version() -> str:
    """The version of somaseg; looked up once, since every image asks."""
    return version("somaseg")


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python, of the packages that results depend on, as far as they are installed, and of `more`; none is imported."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@dataclass(frozen=True)
class Manifest:
    """What `run.json` says of a run over images: what it was made with, what came of it, what went wrong.

    Attributes:
        settings: all that the results depend on, by section, as JSON takes it.
        models: of the weights, or of the predictions that took their place.
        images: images with results.
        failures: what went wrong, by file.
        seconds: of the whole run.
        skipped: images whose results were made before; None where every run makes all.
        cells: cells by class; None where the run made predictions.
        warnings: what to look at, by image.
        more: what only this kind of run tells, by name.
    """

    settings: Mapping[str, Any]
    models: Mapping[str, Any]
    images: int
    failures: Mapping[str, str]
    seconds: float
    skipped: int | None = None
    cells: Mapping[str, Any] | None = None
    warnings: Mapping[str, list[str]] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> bytes:
        """As `run.json` has it, with the versions of packages."""
        fields = {
            "settings": self.settings,
            **self.models,
            "versions": versions(),
            "images": self.images,
            "skipped": self.skipped,
            "cells": self.cells,
            "failures": self.failures,
            "warnings": self.warnings,
            "seconds": self.seconds,
            **self.more,
        }
        return orjson.dumps({name: value for name, value in fields.items() if value is not None}, option=orjson.OPT_INDENT_2)
