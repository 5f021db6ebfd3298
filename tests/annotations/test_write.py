from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from alike import assert_same
from somaseg.annotations.read import read_annotations
from somaseg.annotations.samples import Sample
from somaseg.annotations.write import write_coco, write_kaggle, write_label_tiffs
from somaseg.data.check import check
from somaseg.errors import InputError
from somaseg.instances import Instances

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")
CLASSES = ("shsy5y", "astro", "cort")


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    made = []
    for n in range(draw(st.integers(1, 3))):
        stack = draw(hnp.arrays(np.bool_, st.tuples(st.integers(2, 5), st.integers(1, 8), st.integers(1, 8))))
        labels = draw(hnp.arrays(np.int64, len(stack), elements=st.integers(0, 2)))
        group = draw(st.sampled_from([None, "7"]))
        made.append(Sample(Path(f"{n}.png"), Instances.from_masks(stack, CLASSES, labels), str(n), group))
    return made


@given(samples())
def test_coco_and_kaggle_round_trips_are_exact(tmp_path_factory: pytest.TempPathFactory, made: list[Sample]) -> None:
    folder = tmp_path_factory.mktemp("written")
    write_coco(made, folder / "annotations.json")
    assert_same(read_annotations(folder / "annotations.json"), made)
    write_kaggle(made, folder / "train.csv")
    assert_same(read_annotations(folder / "train.csv"), made)


@given(samples())
def test_a_label_tiff_keeps_what_lies_on_top(tmp_path_factory: pytest.TempPathFactory, made: list[Sample]) -> None:
    folder = tmp_path_factory.mktemp("written")
    lost = write_label_tiffs(made, folder)
    found = read_annotations(folder)
    for sample, again in zip(made, found, strict=True):
        stack = sample.instances.to_masks()
        top = [mask & ~stack[:i].any(axis=0) for i, mask in enumerate(stack)]
        visible = [i for i, mask in enumerate(top) if mask.any()]
        assert lost.get(sample.name, 0) == int(stack.sum()) - int(np.sum(top))
        assert_same(
            [again],
            [
                Sample(
                    sample.image, Instances.from_masks(np.stack(top), CLASSES, sample.instances.labels)[visible], sample.name, sample.group
                )
            ],
        )


def one(**fields: object) -> Sample:
    stack = np.zeros((2, 4, 5), bool)
    stack[0, 1:3, 2:4] = stack[1, 3, 4] = True
    return Sample(**{"image": Path("a.png"), "instances": Instances.from_masks(stack, CLASSES, [2, 0]), "name": "a", **fields})  # type: ignore[arg-type]


def test_coco_as_written(tmp_path: Path) -> None:
    image = tmp_path / "images/a.png"
    image.parent.mkdir()
    image.touch()
    sample = one(image=image, group="g", pixel_size=0.5, source="pseudo", metadata={"plate": "B"})
    write_coco([sample], tmp_path / "out/annotations.json")
    data = orjson.loads((tmp_path / "out/annotations.json").read_bytes())
    assert data["images"] == [
        {"id": 1, "file_name": "../images/a.png", "width": 5, "height": 4, "plate": "B"}
        | {"cell_type": "shsy5y", "pixel_size": 0.5, "source": "pseudo", "group": "g"}
    ]
    assert data["categories"] == [{"id": n, "name": name} for n, name in enumerate(CLASSES, start=1)]
    cell = {"image_id": 1, "iscrowd": 0}
    assert data["annotations"] == [
        {"id": 1, "category_id": 3, "bbox": [2, 1, 2, 2], "area": 4, "segmentation": {"size": [4, 5], "counts": "92203"}, **cell},
        {"id": 2, "category_id": 1, "bbox": [4, 3, 1, 1], "area": 1, "segmentation": {"size": [4, 5], "counts": "c01"}, **cell},
    ]
    again = read_annotations(tmp_path / "out")[0]
    assert again.image.samefile(image)
    assert (again.group, again.pixel_size, again.source, again.metadata["plate"]) == ("g", 0.5, "pseudo", "B")


def test_coco_joins_the_classes_of_samples_and_keeps_scores(tmp_path: Path) -> None:
    other = Instances.from_masks(np.ones((1, 2, 2), bool), ("glia", "cort"), [1], [0.25])
    write_coco([one(), Sample(Path("b.png"), other, "b")], tmp_path / "x.json")
    found = read_annotations(tmp_path)
    assert found[1].instances.classes == (*CLASSES, "glia")
    assert (found[1].instances.labels.tolist(), found[1].instances.scores.tolist()) == ([2], [0.25])
    assert found[0].instances.scores.tolist() == [1, 1]


def test_ignored_regions_and_scores_go_through_coco(tmp_path: Path) -> None:
    dense = np.zeros((2, 4, 5), bool)
    dense[0, 0:2, 0:3] = dense[1, 3, 0] = True
    cells = replace(one().instances, scores=np.array([0.75, 0.5], np.float32))
    sample = one(instances=cells, ignored=Instances.from_masks(dense, CLASSES, [1, 2], [0.25, 1.0]), source="pseudo")
    write_coco([one(name="b", image=Path("b.png")), sample], tmp_path / "x.json")
    data = orjson.loads((tmp_path / "x.json").read_bytes())
    assert [a.get("ignore", 0) for a in data["annotations"]] == [0, 0, 0, 0, 1, 1]
    assert [image.get("source") for image in data["images"]] == [None, "pseudo"]
    data["annotations"] = [data["annotations"][i] for i in (4, 2, 0, 5, 1, 3)]  # ignored ones may stand anywhere
    (tmp_path / "x.json").write_bytes(orjson.dumps(data))
    bare, found = read_annotations(tmp_path)
    assert len(bare.ignored) == 0
    assert bare.ignored.size == (4, 5)
    assert (bare.source, found.source) == ("manual", "pseudo")
    assert_same([found], [sample])
    assert_same([replace(found, instances=found.ignored)], [replace(sample, instances=sample.ignored)])
    assert (found.instances.scores.tolist(), found.ignored.scores.tolist()) == ([0.75, 0.5], [0.25, 1.0])
    assert found.ignored.labels.tolist() == [1, 2]


def test_an_ignored_region_is_no_cell_for_the_check(tmp_path: Path) -> None:
    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    ignored = one().instances[:1]
    file = tmp_path / "x.json"
    write_coco([one(image=tmp_path / "a.png", ignored=ignored)], file)
    assert check(file).problems == []
    data = orjson.loads(file.read_bytes())
    data["annotations"][2] |= {"bbox": [0, 0, 9, 9], "segmentation": [[1, 1]]}
    data["annotations"].insert(0, data["annotations"].pop())
    data["annotations"][2]["bbox"] = [0, 0, 9, 9]
    file.write_bytes(orjson.dumps(data))
    result = check(file)
    assert [(p.kind, p.index) for p in result.problems] == [
        ("unreadable mask", None),
        ("box outside image", None),
        ("box outside image", 1),
    ]
    assert len(result.samples[0].instances) == 2


def test_kaggle_as_written(tmp_path: Path) -> None:
    empty = Sample(Path("b.png"), Instances.empty((2, 2), CLASSES), "b", cell_type="astro")
    write_kaggle([one(metadata={"sample_id": "s", "plate": "B"}), empty], tmp_path / "train.csv")
    assert (tmp_path / "train.csv").read_text().splitlines() == [
        "id,annotation,width,height,cell_type,plate_time,sample_date,sample_id,elapsed_timedelta,plate",
        "a,8 2 13 2,5,4,cort,,,s,,B",
        "a,20 1,5,4,shsy5y,,,s,,B",
        "b,,2,2,astro,,,,,",
    ]


def test_label_tiff_as_written(tmp_path: Path) -> None:
    write_label_tiffs([one()], tmp_path)
    labels = tifffile.imread(tmp_path / "labels/a.tif")
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[0, 0, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 2]]


def test_label_tiff_of_more_cells_than_16_bits_count(tmp_path: Path) -> None:
    n = 70_000
    y, x = np.divmod(np.arange(n), 700)
    boxes = np.stack([x, y, x + 1, y + 1], axis=1)
    instances = Instances((100, 700), boxes, (np.ones((1, 1), bool),) * n, np.zeros(n), np.ones(n), ("cell",))
    assert write_label_tiffs([Sample(Path("a.png"), instances, "a")], tmp_path) == {}
    assert tifffile.imread(tmp_path / "labels/a.tif").dtype == np.uint32
    assert len(read_annotations(tmp_path)[0].instances) == n


def test_label_tiffs_refuse_a_name_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x_a"):
        write_label_tiffs([one(name="x/a"), one(name="x_a")], tmp_path)


def test_an_edited_label_tiff_with_more_cells_than_described(tmp_path: Path) -> None:
    described = {"classes": ["cell"], "labels": [0]}
    tifffile.imwrite(tmp_path / "a_labels.tif", np.array([[1, 2]], np.uint16), metadata=described)
    with pytest.raises(InputError, match="has the value 2"):
        read_annotations(tmp_path)


@needs_data
def test_sartorius_files_come_back_byte_for_byte(tmp_path: Path) -> None:
    write_kaggle(read_annotations(SHARED / "sartorius/train.csv"), tmp_path / "train.csv")
    assert (tmp_path / "train.csv").read_bytes() == (SHARED / "sartorius/train.csv").read_bytes()
    write_coco(read_annotations(SHARED / "sartorius"), tmp_path / "x.json")
    found, original = (orjson.loads(p.read_bytes()) for p in (tmp_path / "x.json", SHARED / "sartorius/annotations.json"))
    for key in ("segmentation", "area", "bbox", "category_id"):
        assert [a[key] for a in found["annotations"]] == [a[key] for a in original["annotations"]]
