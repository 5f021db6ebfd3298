"""A file where a folder is needed, and the reverse: found before any work, with the path in the text."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco
from somaseg.cli.main import app
from somaseg.errors import InputError
from somaseg.instances import Instances


@pytest.mark.parametrize(
    "command",
    [
        "evaluate FILE FILE --out IMAGE",
        "evaluate FILE FILE --out IMAGE/out",
        "compare FILE FILE --out IMAGE",
        "data check FILE --fix IMAGE/fixed",
        "data check FILE --fix IMAGE",
        "data check FILE --fix FOLDER.json",
        "data check FILE --json IMAGE/found.json",
        "data check FILE --json FOLDER.json",
        "data convert FILE IMAGE --to labels",
        "data convert FILE IMAGE --to kaggle",
        "data convert FILE FOLDER.json --to coco",
        "data split FILE --out IMAGE/folds.json",
        "data split FILE --out FOLDER.json",
    ],
)
def test_output_that_cannot_be_written(tmp_path: Path, command: str) -> None:
    image, folder = tmp_path / "field.png", tmp_path / "folder"
    Image.new("L", (5, 4)).save(image)
    folder.with_suffix(".json").mkdir()
    cells = Instances.from_masks(np.ones((1, 4, 5), bool), ("cell",))
    write_coco([Sample(image, cells, "field")], tmp_path / "annotations.json")
    places = {"FILE": tmp_path / "annotations.json", "IMAGE": image, "FOLDER": folder}
    words = command.split()
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    run = CliRunner().invoke(app, words)
    assert isinstance(run.exception, InputError)
    assert any(str(place) in str(run.exception) for place in (image, folder.with_suffix(".json")))
    assert image.is_file()
