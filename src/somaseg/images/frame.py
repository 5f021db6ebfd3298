"""The record `Frame`: one two-dimensional image of a file, what its channels mean, and which of them is asked for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError
from somaseg.images.levels import mean_of
from somaseg.images.regions.lazy import Box, LazyImage, each_pixel
from somaseg.instances import Pixels

Meaning = Literal["grey", "colour", "channels"]
Alpha = Literal["straight", "premultiplied"]
MAX_CHANNELS = 4  # more than red, green, blue and alpha are never the colours of one picture
COLOURS = ("red", "green", "blue", "alpha")


class Channels(NamedTuple):
    """What is measured of an image.

    Attributes:
        array: (H, W) or (H, W, C), in the file's own numbers; of the C channels the first ones are measured.
        names: of the channels that are measured; their numbers from 0 where the file has no names.
    """

    array: Pixels
    names: tuple[str, ...]


class Step(NamedTuple):
    """Where a frame is along an axis that has several steps.

    Attributes:
        axis: s for images of a file, t for time, z for depth; empty where the file does not say what it counts.
        number: from 0.
        steps: of the axis.
    """

    axis: str
    number: int
    steps: int


@dataclass(frozen=True, eq=False)
class Frame:
    """One two-dimensional image of a file.

    Attributes:
        path: the file.
        page: number of the frame from 0 in a file of several frames, None where the file holds one image.
        array: (H, W) or (H, W, C), in the file's own numbers; of a large image a `LazyImage`, whose regions are read when asked for.
        pixel_size: edge of a pixel in µm where the file tells it and pixels are square, else None.
        meaning: of the channels: grey, colours (red, green, blue), or channels of their own, such as those of several dyes.
        alpha: how the last channel says where there is no picture; None where it does not.
        channels: names of the channels where the file has them, else empty.
        warnings: what to know of the file before its frame is trusted.
        steps: where the frame is along time, depth and other axes with several steps, outermost first; empty of a frame alone.
        whole: the frame with all its channels, where one of them was chosen.
    """

    path: Path
    page: int | None
    array: Pixels
    pixel_size: float | None = None
    meaning: Meaning = "grey"
    alpha: Alpha | None = None
    channels: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    whole: "Frame | None" = None

    @property
    def name(self) -> str:
        """The file's stem, and behind it what tells the frame from others of the file, see `frame_name`."""
        return frame_name(self.path, self.page, self.place)

    @property
    def place(self) -> str:
        """Where the frame is in its file, such as t003_z012; empty where the file does not say what its axes are."""
        named = self.page is not None and all(step.axis for step in self.steps)
        return "_".join(f"{step.axis}{step.number:03d}" for step in sorted(self.steps)) if named else ""  # s, t, z

    @property
    def picture(self) -> Pixels:
        """What a network is shown: (H, W), (H, W, 3), or these with an alpha channel behind, (H, W, 2) and (H, W, 4).

        Of two or four channels that are no colours the first counts; three are taken for red, green and blue, as a viewer shows them.
        """
        array = self.array
        if array.ndim == 2:
            return array
        if self.alpha == "premultiplied":
            return each_pixel(array, _straight)
        if self.alpha is None and array.shape[2] in (2, 4):
            return each_pixel(array, lambda a: a[..., :3]) if self.meaning == "colour" else _channel(array, 0)
        return array

    @property
    def measured(self) -> Channels:
        """All channels of the file that hold light, whichever was chosen; alpha is none of them."""
        if self.whole is not None:
            return self.whole.measured
        shape = self.array.shape
        count = 1 if len(shape) == 2 else shape[2] - (self.alpha is not None)
        names = COLOURS if self.meaning == "colour" and count > 1 else self.channels
        told = [name.strip() for name in names[:count]]
        is_clear = len(set(told)) == count and all(told)
        return Channels(self.array, tuple(told if is_clear else map(str, range(count))))

    def choose(self, channel: str | None) -> "Frame":
        """The frame with only the channel of this name, or of this number from 0; None leaves one to four channels as they are.

        Several names or numbers with + between them give the mean of these channels, each stretched so that its percentiles .3
        and 99.7 become 0 and 255. Of more than four channels the first counts where none is chosen.

        Raises:
            InputError: naming the file, its channels and the option, where there is no such channel.
        """
        count = 1 if self.array.ndim == 2 else self.array.shape[2]
        if channel is not None:
            number = self._number(channel, count)
            if number is None:
                return self._combined([self._known(part, count) for part in channel.split("+")])
            array = self.array if self.array.ndim == 2 else _channel(self.array, number)
            return replace(self, array=array, meaning="grey", alpha=None, channels=self.channels[number : number + 1], whole=self)
        if self.meaning != "channels" or count == 1:
            return self
        shown = "they are shown as red, green and blue" if count == 3 else "the first is shown"
        warning = f"has {self._described(count)}, {shown}: choose the one that shows the cells with --channel"
        told = replace(self, warnings=(*self.warnings, warning))
        if count > MAX_CHANNELS:
            return replace(told, array=_channel(self.array, 0), meaning="grey", channels=self.channels[:1], whole=self)
        return told

    def _combined(self, numbers: Sequence[int]) -> "Frame":
        """The mean of channels, each stretched."""
        channels = [_channel(self.array, number) if self.array.ndim == 3 else self.array for number in numbers]
        name = "+".join(self.channels[number] for number in numbers) if self.channels else ""
        return replace(self, array=mean_of(channels), meaning="grey", alpha=None, channels=(name,) if name else (), whole=self)

    def _known(self, channel: str, count: int) -> int:
        number = self._number(channel.strip(), count)
        if number is None:
            raise InputError(f"{self.path}: has no channel {channel!r} (--channel), it has {self._described(count)}: numbers count from 0")
        return number

    def _number(self, channel: str, count: int) -> int | None:
        """The number of a channel; None where there is no such channel, and it may be several of them."""
        names = self.channels or (COLOURS[:count] if self.meaning == "colour" else ())
        for spelt in (names, [name.casefold() for name in names]):
            wanted = channel if spelt is names else channel.casefold()
            if wanted in spelt:
                return list(spelt).index(wanted)
        if channel.isdecimal() and int(channel) < count:
            return int(channel)
        return None

    def _described(self, count: int) -> str:
        names = f" ({', '.join(self.channels)})" if self.channels else ""
        return f"{count} channel{'' if count == 1 else 's'}{names}"


def _channel(image: Pixels, number: int) -> Pixels:
    return image.channel(number) if isinstance(image, LazyImage) else np.ascontiguousarray(image[..., number])


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W) or (H, W, C) upright, from the number that EXIF and TIFF give of how they are stored (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    down, across = _directions(orientation)
    return np.ascontiguousarray(array[::down, ::across])


def stored_box(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    """Where the pixels of a box of an upright image of `size` (height, width) are stored; see `turned`."""
    down, across = _directions(orientation)
    x0, y0, x1, y1 = box
    if down < 0:
        y0, y1 = size[0] - y1, size[0] - y0
    if across < 0:
        x0, x1 = size[1] - x1, size[1] - x0
    return (y0, x0, y1, x1) if orientation in (5, 6, 7, 8) else (x0, y0, x1, y1)


def _directions(orientation: int) -> tuple[int, int]:
    """Whether rows and columns come in falling order, after height and width were exchanged where they are."""
    return {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(orientation, (1, 1))


def frame_name(path: Path, page: int | None, place: str = "") -> str:
    """Name of a frame: the stem, and behind it the place in the file, as in `_t003_z012`, or else the number of the page, as in `_p003`."""
    return image_stem(path) + frame_tail(page, place)


def frame_tail(page: int | None, place: str = "") -> str:
    """What stands behind the stem in the name of a frame."""
    return "" if page is None else f"_{place}" if place else f"_p{page:03d}"


def image_stem(path: str | Path) -> str:
    """File name without its suffix; `.ome.tif` counts as one suffix. An image within a Zarr store has the store's name before its own."""
    folders, zarr, own = os.fspath(path).replace(os.sep, "/").rpartition(".zarr/")
    if zarr and own:
        return "_".join([image_stem(f"{folders}.zarr"), *own.split("/")])
    stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122 - several times faster than Path, for long lists
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def several(names: Sequence[str], shown: int = 5) -> str:
    """Names in a row; of many the first ones and how many more there are."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


def _straight(array: NDArray[Any]) -> NDArray[Any]:
    """Colours (H, W, C) that were multiplied by their alpha, the last channel, as they were before."""
    whole = np.iinfo(array.dtype).max if array.dtype.kind in "ui" else 1.0
    alpha = array[..., -1:].astype(np.float64) / whole
    colours = np.divide(array[..., :-1], alpha, out=np.zeros(array[..., :-1].shape), where=alpha > 0)
    if array.dtype.kind in "ui":
        colours = np.rint(colours).clip(0, whole)
    return np.concatenate([colours.astype(array.dtype), array[..., -1:]], axis=-1)
