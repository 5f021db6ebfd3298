"""Files with odd values and flipped bytes: an `InputError` or a proper result, never anything else."""

import copy
import io
import json
import math
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from coco_files import SQUARE, rle
from somaseg.annotations.read import inspect_annotations
from somaseg.annotations.samples import Sample
from somaseg.annotations.submission import is_result_list, is_submission, read_result_list, read_submission
from somaseg.annotations.write import write_coco, write_kaggle, write_label_tiffs
from somaseg.batch.saved.prediction_file import Origin, SavedPrediction, load_prediction, save_prediction
from somaseg.checkpoints.header import read_header
from somaseg.config import Config, load_settings
from somaseg.data.check import check
from somaseg.data.repair import left_out, repair, write_repaired
from somaseg.errors import InputError, MissingExtraError
from somaseg.instances import Instances, Prediction

quick = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

COCO: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 5, "height": 4, "page": 0, "pixel_size": 0.5, "group": "g", "cell_type": "astro", "x": 1},
        {"id": 2, "file_name": "b/a.png", "width": 5, "height": 4},
    ],
    "categories": [{"id": 1, "name": "astro"}, {"id": 2, "name": "cort"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": rle(SQUARE), "bbox": [2, 1, 2, 2], "score": 0.5, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "segmentation": [[2, 1, 4, 1, 4, 3, 2, 3]], "area": 4, "ignore": 1},
        {"id": 3, "image_id": 2, "category_id": 2, "segmentation": {"size": [4, 5], "counts": [9, 2, 2, 2, 5]}},
    ],
}
RESULTS = [{"image_id": 1, "category_id": 1, "segmentation": rle(SQUARE), "score": 0.5, "bbox": [2, 1, 2, 2]}]
TABLE = "id,annotation,width,height,cell_type,plate_time\na,8 2 13 2,5,4,astro,11h\nb.png,1 1,5,4,cort,\nc,,5,4,,\n"
ODD = st.one_of(
    st.sampled_from(
        [None, True, "", "x", "1", "1.0", "nan", -1, 0, -0.0, 2**31, 2**63, 10**30, 1e308, 1e-320, math.nan, math.inf, -math.inf]
    ),
    st.sampled_from([[], {}, [[]], [None], [1], {"a": 1}, "\0", "\ud800", "a" * 300, "../../x", "C:\\x", "[/red]", "%", "http://[", "=1"]),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=3)), max_size=9),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, by keys and numbers."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in below for place in places(part, (*path, key)))][0 if path else 1 :]


@st.composite
def documents(draw: st.DrawFn, start: Any) -> bytes:
    """A document of which a few values are replaced, removed or doubled."""
    document = copy.deepcopy(start)
    for _ in range(draw(st.integers(1, 3))):
        every = places(document)
        if not every:
            break
        *parents, last = draw(st.sampled_from(every))
        place = document
        for key in parents:
            place = place[key]
        action = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if action == "remove":
            del place[last]
        elif action == "double" and isinstance(place, list):
            place.insert(last, copy.deepcopy(place[last]))
        else:
            place[last] = copy.deepcopy(draw(ODD))  # some are lists that all draws share
    return json.dumps(document).encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])), "replace")


@st.composite
def broken(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which some are changed, left out, or doubled."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        action = draw(st.sampled_from(["change", "change", "cut", "double", "end"]))
        if action == "change":
            found[at : at + 1] = bytes([draw(st.sampled_from([0, 1, 9, 10, 34, 44, 45, 48, 57, 59, 91, 123, 127, 128, 255]))])
        elif action == "cut":
            del found[at : at + draw(st.integers(1, 40))]
        elif action == "double":
            found[at:at] = found[at : at + draw(st.integers(1, 40))]
        else:
            del found[at:]
    return bytes(found)


def only_input_errors(name: str, data: bytes, read: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        message = "read"
        try:
            read(path)
        except (InputError, MissingExtraError) as error:
            message = str(error)
        assert 0 < len(message) < 3000


def read_all(path: Path) -> None:
    """Read, check, repair, write and read again; what was repaired has no fatal problem."""
    result = check(path)
    samples, changes = repair(result.samples, result.problems)
    out = path.parent / "out"
    write_repaired(samples, out, changes, left_out(result.problems))
    again, problems = inspect_annotations(out)
    assert [p for p in problems if p.fatal] == []
    assert sum(len(s.instances) for s in again) == sum(len(s.instances) for s in samples)
    write_kaggle(samples, out / "train.csv")
    write_coco(samples, out / "x.json")
    write_label_tiffs(samples, out)


@quick
@given(st.one_of(documents(COCO), broken(json.dumps(COCO).encode())))
def test_coco(data: bytes) -> None:
    only_input_errors("x.json", data, read_all)


def samples() -> list[Sample]:
    return [Sample(Path("a.png"), Instances.from_masks(SQUARE[None] == 1, ("astro",)), "a", image_id="1")]


@quick
@given(st.one_of(documents(RESULTS), broken(json.dumps(RESULTS).encode())))
def test_lists_of_results(data: bytes) -> None:
    only_input_errors("x.json", data, lambda path: is_result_list(path) and read_result_list(path, samples()))


@quick
@given(st.one_of(broken(TABLE.encode()), broken(TABLE.encode("utf-16")), broken(TABLE.replace(",", ";").encode())))
def test_tables(data: bytes) -> None:
    only_input_errors("train.csv", data, read_all)


@quick
@given(broken(b"id,predicted\na,8 2 13 2\nb,\n"))
def test_submissions(data: bytes) -> None:
    only_input_errors("s.csv", data, lambda path: is_submission(path) and read_submission(path, {"a": (4, 5), "b": (4, 5)}))


@quick
@given(st.one_of(st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmno", max_size=40), st.text(max_size=12)))
def test_run_length_codes(counts: str) -> None:
    document = copy.deepcopy(COCO)
    document["annotations"][0]["segmentation"]["counts"] = counts
    only_input_errors("x.json", json.dumps(document).encode(), read_all)


@quick
@given(st.lists(st.lists(st.one_of(st.floats(), st.integers(-50, 50)), max_size=12), max_size=3))
def test_polygons(polygons: list[list[float]]) -> None:
    document = copy.deepcopy(COCO)
    document["annotations"][0]["segmentation"] = polygons
    only_input_errors("x.json", json.dumps(document).encode(), read_all)


def label_images() -> list[tuple[str, bytes]]:
    labels = np.zeros((12, 16), np.uint16)
    labels[1:4, 1:4], labels[8:11, 2:13] = 1, 300
    png, tiff, described = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(labels).save(png, "PNG")
    tifffile.imwrite(tiff, labels, compression="zlib")
    tifffile.imwrite(described, labels, metadata={"classes": ["astro"], "labels": [0] * 300, "image": "a.png"})
    return [("a_labels.png", png.getvalue()), ("a_labels.tif", tiff.getvalue()), ("a_labels.tif", described.getvalue())]


@pytest.mark.filterwarnings("ignore")
@quick
@given(st.sampled_from(label_images()).flatmap(lambda found: st.tuples(st.just(found[0]), broken(found[1]))))
def test_label_images(found: tuple[str, bytes]) -> None:
    only_input_errors(*found, lambda path: read_all(path))


def prediction_file() -> bytes:
    arrays = {"boxes": np.ones((2, 4), np.float32), "scores": np.ones(2, np.float32), "labels": np.zeros(2, np.int64)}
    found = Prediction(size=(4, 5), mask_probs=np.ones((2, 3, 3), np.float16), classes=("astro",), **arrays)
    about: dict[str, Any] = {"model": {}, "tta": {}, "postprocess": {}, "weights": "w", "weights_sha256": "x", "somaseg": "1"}
    with tempfile.TemporaryDirectory() as folder:
        save_prediction(Path(folder) / "x.npz", SavedPrediction(found, Origin(file="a", sha256="b", classes=("astro",), **about)))
        return (Path(folder) / "x.npz").read_bytes()


@pytest.mark.filterwarnings("ignore")  # NumPy and zipfile warn of odd headers
@quick
@given(broken(prediction_file()))
def test_predictions(data: bytes) -> None:
    only_input_errors("x.npz", data, load_prediction)


YAML = b"model: &m {kind: compact}\ntrain:\n  steps: 10\n  rate: 1.0e-3\npostprocess: {min_area: {default: 3, astro: 4}, nms_iou: 0.2}\n"


@quick
@given(st.one_of(broken(YAML), st.text(st.sampled_from("ab: -[]{}&*!|>?'\"#%@,\n\t<1.~"), max_size=40).map(str.encode)))
def test_settings(data: bytes) -> None:
    only_input_errors("x.yaml", data, lambda path: load_settings(Config, path))


ABOUT = '{"config": {}, "provenance": {}}'
HEADER: dict[str, Any] = {"__metadata__": {"format": "pt", "somaseg": ABOUT}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@quick
@given(st.one_of(documents(HEADER), broken(json.dumps(HEADER).encode())), st.sampled_from([None, 0, 7, 2**31, 2**63]))
def test_headers_of_weights(header: bytes, length: int | None) -> None:
    data = struct.pack("<Q", len(header) if length is None else length) + header + bytes(8)
    only_input_errors("x.safetensors", data, read_header)


@quick
@given(st.one_of(broken(ABOUT.encode()), st.sampled_from([b"[" * 100_000, b'{"config": ' + b"9" * 5000 + b"}", b'{"config": []}'])))
def test_settings_in_headers_of_weights(about: bytes) -> None:
    header = json.dumps({**HEADER, "__metadata__": {"somaseg": about.decode("latin-1")}}).encode()
    only_input_errors("x.safetensors", struct.pack("<Q", len(header)) + header + bytes(8), read_header)
