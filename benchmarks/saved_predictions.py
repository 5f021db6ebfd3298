"""What a saved prediction costs on disk and in time, plain and compressed.

    python benchmarks/saved_predictions.py IMAGES...

Runs the default weights on each image, then writes and reads the arrays of the prediction in memory with NumPy's `savez` and
`savez_compressed`; medians of seven turns, the two taking turns.
"""

import io
import statistics
import sys
import time
from collections import defaultdict

import numpy as np

import somaseg
from somaseg.batch.saved.prediction_file import FIELDS
from somaseg.images.read import find_images, read_image

TURNS = 7


def main() -> None:
    segmenter = somaseg.load()
    for path in find_images(sys.argv[1:]):
        prediction = segmenter.predict(read_image(path).array)
        arrays = {name: np.asarray(getattr(prediction, name), dtype) for name, (dtype, _) in FIELDS.items()}
        print(f"{path.name}: {len(prediction)} detections")
        writing, reading, sizes = defaultdict(list), defaultdict(list), {}
        for _ in range(TURNS):
            for write in (np.savez, np.savez_compressed):
                buffer = io.BytesIO()
                begin = time.perf_counter()
                write(buffer, **arrays)
                writing[write.__name__].append(time.perf_counter() - begin)
                sizes[write.__name__] = len(buffer.getvalue())
                buffer.seek(0)
                begin = time.perf_counter()
                with np.load(buffer) as file:
                    dict(file)
                reading[write.__name__].append(time.perf_counter() - begin)
        for name, size in sizes.items():
            took = f"writing {statistics.median(writing[name]) * 1e3:.1f} ms, reading {statistics.median(reading[name]) * 1e3:.1f} ms"
            print(f"  {name}: {size / 1e6:.2f} MB, {took}")


if __name__ == "__main__":
    main()
