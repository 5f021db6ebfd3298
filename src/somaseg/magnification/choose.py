"""At which size an image is shown to the network: what was asked for, the file and the weights to a zoom, and where it came from."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from somaseg.config import MagnificationSettings, TrainedSize
from somaseg.errors import InputError
from somaseg.instances import KeptTiles, Pixels, Prediction, Predictor
from somaseg.magnification.estimate import Estimate, best_of, estimate

Source = Literal["given cell diameter", "given pixel size", "file's pixel size", "estimated", "unknown", "off"]
"""Where a zoom came from; "unknown" where the weights do not know the size of cells."""
MOST = 20.0  # times an image is shown larger or smaller at most: beyond that a number or its unit is wrong
FILE_MOST = 8.0  # the same for what a file says: objectives of one culture are 4x to 40x
FAR = 1.6  # times from which on an estimate is told as a warning
ALIKE = 1.25  # two known diameters within this factor are one size to the network, which was trained on sizes up to 1.35 times off


@dataclass(frozen=True)
class Magnification:
    """How large an image is shown.

    Attributes:
        zoom: how many times larger than at the weights' own scale.
        source: where it came from.
    """

    zoom: float
    source: Source


def check_magnification(settings: MagnificationSettings, known: TrainedSize) -> None:
    """Refuse sizes that the weights cannot make use of.

    Raises:
        InputError: when a pixel size is given and that of the weights is not known, a diameter and that of the weights is not, the
            class is none of theirs, or a size is beyond all reason.
    """
    if settings.cell_diameter is not None:
        if not known.cell_diameter:
            raise InputError("--cell-diameter: the weights do not say how large the cells were that they were trained on: leave it out")
        for wanted in _wanted_diameters(settings, known):
            _check_zoom(wanted / settings.cell_diameter, f"--cell-diameter {settings.cell_diameter:g} px", f"{wanted:.3g} px")
    if settings.pixel_size is not None:
        own = _weights_pixel_size(settings, known)
        if own is None:
            raise InputError(
                "--pixel-size: the weights do not say at which pixel size they were trained: give --cell-diameter, or the pixel size of "
                "the weights with --set magnification.weights_pixel_size=UM"
            )
        _check_zoom(settings.pixel_size / own, f"--pixel-size {settings.pixel_size:g} µm", f"{own:g} µm")


def choose_magnification(
    predictor: Predictor, image: Pixels, settings: MagnificationSettings, known: TrainedSize, pixel_size: float | None = None
) -> tuple[Magnification, Prediction | None]:
    """At which size an image is to be shown by what the settings, the file or the image itself tell.

    Warns of a pixel size that is not believed, and of what an estimate is not sure of or finds far from what the weights know.

    Args:
        predictor: gives raw detections.
        image: (H, W) or (H, W, C).
        settings: what is asked for.
        known: what the weights know.
        pixel_size: edge of a pixel in µm as the file has it, or None.

    Returns:
        The magnification; and the raw detections at it, where it was found out by a look at all of the image.

    Raises:
        InputError: see `check_magnification`.
    """
    check_magnification(settings, known)
    given = _given(settings, known, pixel_size)
    if given is not None:
        return given, None
    source: Source = "estimated" if settings.cell_diameter is None else "given cell diameter"
    if settings.cell_diameter is not None:
        zooms = [wanted / settings.cell_diameter for wanted in _wanted_diameters(settings, known)]
        found = best_of(predictor, image, zooms, known.cell_diameter)
    else:
        found = estimate(predictor, image, known.cell_diameter)
    for text in (*found.warnings, *([] if source != "estimated" else filter(None, [_told(found)]))):
        warnings.warn(text, UserWarning, stacklevel=2)
    return Magnification(found.zoom, source), found.prediction


def predict_magnified(
    predictor: Predictor,
    image: Pixels,
    settings: MagnificationSettings,
    known: TrainedSize,
    pixel_size: float | None = None,
    kept: KeptTiles | None = None,
) -> tuple[Prediction, Magnification]:
    """The raw detections of an image that is shown at the size of `choose_magnification`; what its tiles find is kept."""
    shown, found = choose_magnification(predictor, image, settings, known, pixel_size)
    return (predictor.predict(image, shown.zoom, kept) if found is None else found), shown


def _given(settings: MagnificationSettings, known: TrainedSize, pixel_size: float | None) -> Magnification | None:
    """What needs no look at the image; None where it does."""
    if settings.cell_diameter is not None:
        wanted = _wanted_diameters(settings, known)
        if len(wanted) == 1:
            return Magnification(wanted[0] / settings.cell_diameter, "given cell diameter")
        if settings.estimate == "off":
            sizes = ", ".join(f"{name} {size:g} px" for name, size in known.cell_diameter.items())
            raise InputError(
                f"--cell-diameter: the weights know cells of several sizes ({sizes}): say which yours are with "
                "--set magnification.cell_class=NAME, or leave out --magnification off"
            )
        return None
    own = _weights_pixel_size(settings, known)
    if settings.pixel_size is not None and own is not None:
        return Magnification(settings.pixel_size / own, "given pixel size")
    if settings.estimate == "off":
        return Magnification(1.0, "off")
    if pixel_size is not None and own is not None:
        zoom = pixel_size / own
        if 1 / FILE_MOST <= zoom <= FILE_MOST:
            return Magnification(zoom, "file's pixel size")
        warnings.warn(
            f"the file's pixel size of {pixel_size:g} µm is not believed, the weights were trained at {own:g} µm: "
            "give --pixel-size if it is right",
            UserWarning,
            stacklevel=3,
        )
    return None if known.cell_diameter else Magnification(1.0, "unknown")


def _wanted_diameters(settings: MagnificationSettings, known: TrainedSize) -> list[float]:
    """The diameters that the network may want to see the cells at, those that are about one size to it once."""
    if settings.cell_class is not None:
        if settings.cell_class not in known.cell_diameter:
            raise InputError(
                f"magnification.cell_class: the weights know no size of {settings.cell_class!r}: choose one of "
                f"{', '.join(known.cell_diameter)}"
            )
        return [known.cell_diameter[settings.cell_class]]
    groups: list[list[float]] = []
    for size in sorted(known.cell_diameter.values()):
        if groups and size <= groups[-1][0] * ALIKE:
            groups[-1].append(size)
        else:
            groups.append([size])
    return [group[0] if len(group) == 1 else float(np.exp(np.mean(np.log(group)))) for group in groups]


def _weights_pixel_size(settings: MagnificationSettings, known: TrainedSize) -> float | None:
    return known.pixel_size if settings.weights_pixel_size is None else settings.weights_pixel_size


def _check_zoom(zoom: float, given: str, own: str) -> None:
    if not 1 / MOST <= zoom <= MOST:
        raise InputError(f"{given}: the weights know {own}, which is {max(zoom, 1 / zoom):.3g} times as much or as little: check the unit")


def _told(found: Estimate) -> str:
    """What a person should know of an estimate; nothing where it is as expected."""
    if not found.sure:
        return (
            f"the magnification could not be estimated ({found.reason}), the image is shown as it is: "
            "if its cells are not as large as those that the weights know, give --cell-diameter"
        )
    if max(found.zoom, 1 / found.zoom) < FAR:
        return ""
    return (
        f"cells look {1 / found.zoom:.2g} times as large as those that the weights know, the network is shown the image at "
        f"{found.zoom:.2g} of its size: if that is wrong, give --cell-diameter, or --magnification off"
    )
