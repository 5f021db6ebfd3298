"""What a batch run did, for people."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from somaseg.provenance import Manifest

SHOWN = 10  # files that were left out; run.json has all


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        out: the folder with the results.
        images: images with results, made now or before.
        skipped: how many of them were made before and are unchanged.
        cells: cells by class, over all images; None where the run made predictions.
        failures: what went wrong, by image file.
        warnings: what to look at, by image.
        seconds: of the whole run.
        left_out: why what looked like an image was none of the run, by file or folder.
        zooms: how many times larger the network was shown each image, and where that came from, by image.
        medians: of the run's images and cells, as `run.json` has them; empty where the run made predictions.
    """

    out: Path
    images: int
    skipped: int
    cells: Mapping[str, int] | None
    failures: Mapping[str, str]
    warnings: Mapping[str, list[str]]
    seconds: float
    left_out: Mapping[str, str] = field(default_factory=dict)
    zooms: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    medians: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest, out: Path) -> "RunSummary":
        """The summary of a run that left `manifest` in the folder `out`."""
        m = manifest
        zooms = {name: (told["zoom"], told["zoom_from"]) for name, told in m.more.get("by_image", {}).items() if told.get("zoom_from")}
        more = (m.more.get("left_out", {}), zooms, m.more.get("medians", {}))
        return cls(out, m.images, m.skipped or 0, m.cells, m.failures, m.warnings, m.seconds, *more)

    def text(self) -> str:
        """The same for people, a line a fact."""
        lines = [f"warning: {image}: {message}" for image, messages in self.warnings.items() for message in messages]
        lines += [f"left out: {name}: {reason}" for name, reason in list(self.left_out.items())[:SHOWN]]
        if len(self.left_out) > SHOWN:
            lines.append(f"left out: {len(self.left_out) - SHOWN} more, see run.json")
        lines += [f"failed: {reason}" for reason in self.failures.values()]
        counted_zooms = Counter(f"x{zoom:.3g} ({source})" for zoom, source in self.zooms.values() if source != "unknown")
        lines += [f"magnification: {counted(count, 'image')} shown {text}" for text, count in counted_zooms.most_common(SHOWN)]
        if len(counted_zooms) > SHOWN:
            lines.append(f"magnification: {len(counted_zooms) - SHOWN} other sizes, see run.json")
        before = f", {self.skipped} of them unchanged since an earlier run" if self.skipped else ""
        counts = ""
        if self.cells is not None:
            counts = ": " + (", ".join(f"{count} {name}" for name, count in self.cells.items() if count) or "no cell")
        lines.append(f"{counted(self.images, 'image')} in {self.seconds:.1f} s{before}{counts}")
        lines += self._middle()
        lines += failed(self.failures)
        return "\n".join([*lines, f"{'predictions' if self.cells is None else 'results'} in {self.out}"])

    def _middle(self) -> list[str]:
        """The line of what an image and a cell in the middle are like; none without cells."""
        m = self.medians
        if "area" not in m:
            return []
        density = f", {m['cells_per_mm2']:,.0f} cells per mm²" if "cells_per_mm2" in m else ""
        area = f" ({m['area_um2']:,.0f} µm²)" if "area_um2" in m else ""
        image = f"{m['cells']:g} cells an image, confluence {m['confluence_percent']:.1f} %{density}"
        return [f"medians: {image}; area of a cell {m['area']:,.0f} px{area}"]


def counted(number: int, noun: str) -> str:
    """A number of things: "1 image", "2 images"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def failed(failures: Mapping[str, str]) -> list[str]:
    """The line that counts files that failed; none where none did."""
    return [f"{counted(len(failures), 'file')} failed, see above and run.json"] if failures else []
