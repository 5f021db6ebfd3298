"""Runs over folders, with blobs for a network."""

from pathlib import Path
from typing import Any

from blobs import SETTINGS, BlobSegmenter
from somaseg.batch.segment import segment_folder
from somaseg.batch.summary import RunSummary
from somaseg.config import PostprocessSettings
from somaseg.instances import Predictor


def segment(
    paths: Any, out: Path, segmenter: Predictor | None = None, settings: PostprocessSettings = SETTINGS, **options: Any
) -> RunSummary:
    """`segment_folder` of one path or of several."""
    return segment_folder(paths if isinstance(paths, list) else [paths], out, segmenter or BlobSegmenter(), settings, **options)
