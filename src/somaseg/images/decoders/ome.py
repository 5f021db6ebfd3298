"""The description of an OME-TIFF: images, channels, sizes of pixels, and which plane lies in which file."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somaseg.images.decoders.units import in_microns
from somaseg.images.limits import check_planes

ORDER = "XYZCT"
SMALLEST_PAGE = 18  # bytes of a TIFF page with one tag
LONGEST = 64 * 2**20  # characters of a description that are parsed

Place = tuple[str | None, int]  # name of the file, None for the one that was opened, and number of the page in it


@dataclass(frozen=True)
class OmeImage:
    """One image of a description.

    Attributes:
        axes: the axes T, Z and C, outermost first.
        shape: steps along them; of C, channels as pages hold them.
        channels: names of the channels, of those that have one each.
        width: of a pixel in µm, None where it is not known.
        height: of a pixel in µm, None where it is not known.
        places: where each plane is, by its steps; planes that are nowhere are missing.
    """

    axes: str
    shape: tuple[int, int, int]
    channels: tuple[str, ...] = ()
    width: float | None = None
    height: float | None = None
    places: dict[tuple[int, ...], Place] = field(default_factory=dict)

    @property
    def planes(self) -> int:
        """Planes that it promises."""
        return int(np.prod(self.shape))


def is_ome(description: str) -> bool:
    """Whether the description of a TIFF's first page is OME-XML."""
    return description.rstrip("\0 \r\n\t").endswith("OME>")


def parse_ome(path: Path, description: str) -> list[OmeImage]:
    """Images of a description, in order.

    A bare & is taken for the character. The description of a file that only names another one (a companion) is read there.

    Raises:
        InputError: naming the file, when it promises more planes than any file has.
        ValueError: when it is no XML, or says nothing of planes that makes sense; the pixels may be whole all the same.
    """
    root = _xml(description)
    companion = _first(root, "BinaryOnly")
    if companion is not None:
        named = Path(companion.get("MetadataFile", "").replace("\\", "/")).name
        if not named or not (path.parent / named).is_file():
            raise ValueError(f"the description is in {named or 'another file'}, which is not there")
        root = _xml((path.parent / named).read_text(encoding="utf-8", errors="replace"))
    own = {root.get("UUID", ""), "" if companion is None else companion.get("UUID", "")} - {""}
    images = [_image(path, pixels, own) for pixels in root.iter() if _tag(pixels) == "Pixels"]
    if not images:
        raise ValueError("the description has no Pixels")
    return images


def files_of(images: list[OmeImage]) -> list[str]:
    """Names of the other files that a description says its planes are in, in its order."""
    return list(dict.fromkeys(name for image in images for name, _ in image.places.values() if name is not None))


def _xml(text: str) -> ET.Element:
    if len(text) > LONGEST:
        raise ValueError(f"the description has {len(text):,} characters")
    text = text.strip("\0 \r\n\t\ufeff")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without bounds; OME-XML has none
        raise ValueError("the description declares entities")
    text = re.sub(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)", "&amp;", text)
    try:
        return ET.fromstring(re.sub(r"^<\?xml[^>]*\?>", "", text))
    except (ET.ParseError, RecursionError) as error:
        raise ValueError(f"the description is no XML ({error})") from error


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _first(root: ET.Element, name: str) -> ET.Element | None:
    return next((element for element in root.iter() if _tag(element) == name), None)


def _image(path: Path, pixels: ET.Element, own: set[str]) -> OmeImage:
    order = pixels.get("DimensionOrder", ORDER)
    if sorted(order) != sorted(ORDER) or not order.startswith("XY"):
        raise ValueError(f"DimensionOrder: found {order!r}")
    channels = [element for element in pixels if _tag(element) == "Channel"]
    samples = [_whole(element, "SamplesPerPixel", 1) for element in channels]
    sizes = {axis: _whole(pixels, f"Size{axis}", 1) for axis in "ZCT"}
    if min(sizes.values()) < 1:
        raise ValueError(f"SizeZ, SizeC and SizeT: found {list(sizes.values())}")
    # SizeC counts the samples of colours; each channel is a page.
    if samples and sum(samples) == sizes["C"]:
        sizes["C"] = len(samples)
    elif samples and samples[0] > 1 and sizes["C"] % samples[0] == 0:
        sizes["C"] //= samples[0]
    axes = order[:1:-1]
    shape = (sizes[axes[0]], sizes[axes[1]], sizes[axes[2]])
    check_planes(path, int(np.prod(shape, dtype=object)), "OME description")
    names = [element.get("Name") or element.get("ID") or "" for element in channels]
    width, height = (in_microns(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY")
    named = tuple(names) if len(names) == sizes["C"] and any(element.get("Name") for element in channels) else ()
    image = OmeImage(axes, shape, named, width, height)
    image.places.update(_places(path, pixels, own, image))
    return image


def _places(path: Path, pixels: ET.Element, own: set[str], image: OmeImage) -> dict[tuple[int, ...], Place]:
    """Where the planes are, from the TiffData elements; without any, page by page in the file."""
    places: dict[tuple[int, ...], Place] = {}
    elements = [element for element in pixels if _tag(element) == "TiffData"]
    for element in elements or [ET.Element("TiffData")]:
        start = tuple(_whole(element, f"First{axis}", 0) for axis in image.axes)
        if any(not 0 <= at < steps for at, steps in zip(start, image.shape, strict=True)):
            continue  # beyond the image: no plane of it
        first = int(np.ravel_multi_index(start, image.shape))
        page = _whole(element, "IFD", 0)
        several = image.planes - first if element.get("IFD") is None else 1
        uuid = next((child for child in element if _tag(child) == "UUID"), None)
        name = _file_name(path, uuid, own)
        count = min(_whole(element, "PlaneCount", several), image.planes - first)
        if name is None:  # a promise costs no more memory than the file could keep
            count = min(count, path.stat().st_size // SMALLEST_PAGE)
        for step in range(count):
            place = np.unravel_index(first + step, image.shape)
            places[tuple(int(at) for at in place)] = (name, page + step)
    return places


def _file_name(path: Path, uuid: ET.Element | None, own: set[str]) -> str | None:
    """The file that a UUID element names, beside the one opened; None where it is that one."""
    if uuid is None or (uuid.text or "").strip() in own:
        return None
    name = Path(uuid.get("FileName", "").replace("\\", "/")).name
    return name if name and name != path.name else None


def _whole(element: ET.Element, name: str, default: int) -> int:
    value: Any = element.get(name, default)
    try:
        return int(value)
    except ValueError as error:
        raise ValueError(f"{name}: found {value!r}, expected a whole number") from error
