"""Runs over folders, with blobs for a network."""

from pathlib import Path
from typing import Any

from blobs import SETTINGS, BlobSegmenter
from somaseg.batch.postprocess import postprocess_folder
from somaseg.batch.saved.saved_runs import read_runs
from somaseg.batch.segment import segment_folder
from somaseg.batch.summary import RunSummary
from somaseg.config import PostprocessSettings
from somaseg.fusion.methods import single
from somaseg.instances import Predictor


def segment(
    paths: Any, out: Path, segmenter: Predictor | None = None, settings: PostprocessSettings = SETTINGS, **options: Any
) -> RunSummary:
    """`segment_folder` of one path or of several."""
    return segment_folder(paths if isinstance(paths, list) else [paths], out, segmenter or BlobSegmenter(), settings, **options)


def postprocess(saved: Path, out: Path, settings: PostprocessSettings = SETTINGS, **options: Any) -> RunSummary:
    """`postprocess_folder` of the predictions of one model."""
    runs = read_runs([saved])
    return postprocess_folder(runs, out, single(settings, runs.classes), **options)
