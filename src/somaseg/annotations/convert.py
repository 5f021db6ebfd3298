"""Convert annotations from any format that is read to any that is written."""

from pathlib import Path
from typing import Literal

from somaseg.annotations.read import read_annotations
from somaseg.annotations.write import write_coco, write_kaggle, write_label_tiffs
from somaseg.files import check_file, check_folder


def convert(source: Path, destination: Path, to: Literal["coco", "kaggle", "labels"], images: Path | None = None) -> list[str]:
    """Read annotations and write them in another format.

    Args:
        source: see `read_annotations`.
        destination: file for COCO JSON and `train.csv`, folder for label TIFFs; a folder gets `annotations.json` or `train.csv`.
        to: the format.
        images: folder of the images.

    Returns:
        What was written and what the format could not hold, a line each.

    Raises:
        InputError: when nothing can be written there, which is found first, or the annotations cannot be read.
    """
    if to == "labels":
        check_folder(destination / "labels")
        file = destination
    else:
        file = json_or_csv(destination, "annotations.json" if to == "coco" else "train.csv")
        check_file(file)
    samples = read_annotations(source, images, opened=False)
    cells = sum(len(sample.instances) for sample in samples)
    summary = f"{len(samples)} images with {cells} cells"
    ignored = sum(len(sample.ignored) for sample in samples)
    left_out = [f"{ignored} ignored regions are left out: only COCO JSON holds them"] if ignored and to != "coco" else []
    if to == "labels":
        lost = write_label_tiffs(samples, destination)
        lines = [f"{name}: {pixels} pixels lost where cells overlap" for name, pixels in lost.items()]
        return [*lines, *left_out, f"wrote {summary} to {destination / 'labels'}, {sum(lost.values())} pixels lost where cells overlap"]
    write = write_coco if to == "coco" else write_kaggle
    write(samples, file)
    return [*left_out, f"wrote {summary} to {file}"]


def json_or_csv(destination: Path, name: str) -> Path:
    """The file that a destination means: itself when it has the suffix of `name`, else `name` in the folder that it is."""
    return destination if destination.suffix.lower() == Path(name).suffix else destination / name
