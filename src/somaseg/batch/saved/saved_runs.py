"""Folders of saved predictions, of one model or of several, paired by image and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from somaseg.batch.saved.prediction_file import Origin, load_origin, paired_files
from somaseg.config import PredictSettings, SegmentSettings, override, update
from somaseg.errors import InputError
from somaseg.images.read import image_sha256

S = TypeVar("S", bound=SegmentSettings)


@dataclass(frozen=True)
class ImagePredictions:
    """The predictions of one image: a file a model, and what each was made from."""

    files: tuple[Path, ...]
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class SavedRuns:
    """Folders of predictions, one a model, paired by image.

    Attributes:
        folders: as given; the best single model comes first.
        images: the predictions of each image, in the order in which `segment` takes the images.
        failures: what is wrong with files that cannot be read, by file; their images are not among `images`.
    """

    folders: tuple[Path, ...]
    images: tuple[ImagePredictions, ...]
    failures: dict[str, str]

    @property
    def models(self) -> tuple[Origin, ...]:
        """What a prediction of each model was made from."""
        return self.images[0].origins

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of all models."""
        return self.models[0].classes

    def settings(self, file: Path | None = None, assignments: Sequence[str] = ()) -> SegmentSettings:
        """The thresholds of post-processing and fusion, see `settings_of`."""
        return self.settings_of(SegmentSettings, file, assignments)

    def settings_of(self, kind: type[S], file: Path | None = None, assignments: Sequence[str] = ()) -> S:
        """The thresholds that come with the weights of the first model, with a file and assignments on top.

        Raises:
            InputError: when a setting is wrong, or asks for other views than those in which the first model saw the images; when the
                predictions are not of this version of somaseg.
        """
        first = self.models[0]
        try:
            seen = {"magnification": first.magnification, "tta": first.tta, "detect": first.detect, "tiles": first.tiles}
            own = kind.model_validate({**seen, "postprocess": first.postprocess})
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, ("origin", *fault["loc"])))
            raise InputError(
                f"{self.images[0].files[0]}: {field}: {fault['msg']}: made by another version of somaseg, run `somaseg predict` again"
            ) from error
        settings = override(update(own, file), assignments)
        for section in PredictSettings.model_fields:
            made, asked = getattr(own, section), getattr(settings, section)
            if asked != made:
                raise InputError(
                    f"{section}: the predictions in {self.folders[0]} were made with {made!r}, the settings ask for {asked!r}: "
                    f"run `somaseg predict` with these, or leave {section} out"
                )
        return settings


def read_runs(folders: Sequence[str | Path]) -> SavedRuns:
    """Find the predictions of folders, and check that they belong together; the predictions themselves are not read yet.

    Args:
        folders: of `somaseg predict`, one a model; images pair by name.

    Raises:
        InputError: when a folder has no prediction, or lacks an image of another, or mixes models; when models differ in their
            classes, or one name is that of two images; when no prediction can be read.
    """
    images, failures = [], {}
    for files in paired_files(folders).values():
        try:
            members = ImagePredictions(files, tuple(load_origin(file) for file in files))
        except InputError as error:
            failures[str(files[0])] = str(error)
            continue
        _check_same_image(members)
        images.append(members)
    if not images:
        raise InputError("; ".join(failures.values()))
    images.sort(key=lambda members: (Path(members.origins[0].file), members.origins[0].page or 0))
    for members in images:
        _check_same_models(members, images[0])
    return SavedRuns(tuple(map(Path, folders)), tuple(images), failures)


def check_other_folder(runs: SavedRuns, out: Path) -> None:
    """Raise InputError when the folder of the results is one of the predictions."""
    if out.resolve() in {folder.resolve() for folder in runs.folders}:
        raise InputError(f"{out}: is a folder of predictions, expected another one for the results: choose another --out")


def about_models(runs: SavedRuns) -> dict[str, Any]:
    """What `run.json` tells of the models."""
    models = [
        {"predictions": str(folder.resolve()), "weights": {"name": origin.weights, "sha256": origin.weights_sha256}} | {"tta": origin.tta}
        for folder, origin in zip(runs.folders, runs.models, strict=True)
    ]
    return models[0] if len(models) == 1 else {"members": models}


def is_still(path: Path, sha256: str) -> bool:
    """Whether the file is there and has this content."""
    try:
        return image_sha256(path) == sha256
    except InputError:
        return False


def _check_same_image(members: ImagePredictions) -> None:
    first = members.origins[0]
    for file, origin in zip(members.files, members.origins, strict=True):
        if (origin.sha256, origin.page, origin.depth) != (first.sha256, first.page, first.depth):
            raise InputError(
                f"{file}: origin.sha256: was made from {origin.file}, {members.files[0]} from {first.file} of other content: "
                "give images of their own names, and predict the same images with every model"
            )


def _check_same_models(members: ImagePredictions, first: ImagePredictions) -> None:
    for file, origin, other_file, other in zip(members.files, members.origins, first.files, first.origins, strict=True):
        if _made_with(origin) != _made_with(other):
            raise InputError(
                f"{file}: origin.weights_sha256, tta, tiles and model.detect: made with {_model(origin)}, "
                f"{other_file} with {_model(other)}: "
                "predict all images of a folder with the same weights, views and settings"
            )
        if origin.classes != first.origins[0].classes:
            raise InputError(
                f"{file}: origin.classes: found {', '.join(origin.classes)}, {first.files[0]} has {', '.join(first.origins[0].classes)}: "
                "fuse models of the same classes"
            )


def _made_with(origin: Origin) -> tuple[Any, ...]:
    return origin.weights_sha256, origin.tta, origin.tiles, origin.detect


def _model(origin: Origin) -> str:
    return f"weights {origin.weights} ({origin.weights_sha256[:8]}), tta {origin.tta}, detect {origin.detect}"
