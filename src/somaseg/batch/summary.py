"""What a batch run did, for people."""

from dataclasses import dataclass
from pathlib import Path


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
    """

    out: Path
    images: int
    skipped: int
    cells: dict[str, int] | None
    failures: dict[str, str]
    warnings: dict[str, list[str]]
    seconds: float

    def text(self) -> str:
        """The same for people, a line a fact."""
        lines = [f"warning: {image}: {message}" for image, messages in self.warnings.items() for message in messages]
        lines += [f"failed: {reason}" for reason in self.failures.values()]
        before = f", {self.skipped} of them unchanged since an earlier run" if self.skipped else ""
        counts = ""
        if self.cells is not None:
            counts = ": " + (", ".join(f"{count} {name}" for name, count in self.cells.items() if count) or "no cell")
        lines.append(f"{self.images} images in {self.seconds:.1f} s{before}{counts}")
        if self.failures:
            lines.append(f"{len(self.failures)} files failed, see above and run.json")
        return "\n".join([*lines, f"{'predictions' if self.cells is None else 'results'} in {self.out}"])
