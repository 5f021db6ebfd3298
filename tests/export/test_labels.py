import io

import numpy as np
import tifffile

from somaseg.annotations.read import read_annotations
from somaseg.export.labels import label_tiff
from somaseg.files import write_whole
from somaseg.instances import Instances
from two_cells import CLASSES, cells


def test_label_tiff_reads_back_and_counts_lost_pixels(tmp_path):
    data, lost = label_tiff(cells())
    assert lost == 1
    path = tmp_path / "labels" / "x_labels.tif"
    write_whole(path, data)
    labels = tifffile.imread(path)
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[1, 1, 0, 0, 0], [1, 1, 2, 0, 0], [0, 2, 2, 2, 0], [0, 0, 0, 0, 0]]
    back = read_annotations(path)[0].instances
    assert back.classes == CLASSES
    assert back.labels.tolist() == [2, 0]


def test_label_tiff_widens_beyond_65535_cells():
    size = (256, 257)
    boxes = np.stack(np.meshgrid(np.arange(257), np.arange(256)), axis=-1).reshape(-1, 2)[:65536]
    pixel = np.ones((1, 1), bool)
    many = Instances.build(size, [((x, y, x + 1, y + 1), pixel) for x, y in boxes.tolist()], ("cell",))
    for one, dtype in ((many[:65535], np.uint16), (many, np.uint32)):
        data, lost = label_tiff(one)
        labels = tifffile.imread(io.BytesIO(data))
        assert lost == 0
        assert labels.dtype == dtype
        assert labels.max() == len(one)


def test_label_tiff_is_compressed():
    data, _ = label_tiff(Instances.empty((500, 500), ("cell",)))
    assert len(data) < 5000
