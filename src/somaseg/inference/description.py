"""What is known of a model before its network is built: all that its results depend on."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from numpy.typing import NDArray

from somaseg.config import Config, MagnificationSettings, ModelSettings, PostprocessSettings, PredictSettings, TileSettings, TtaSettings
from somaseg.images.levels import Levels, levels_of
from somaseg.instances import KeptTiles, Pixels, Prediction
from somaseg.tiling.predict import Sight, fill_tiles, predict_tiled


class ModelDescription:
    """A trained model, or several as an ensemble, by what their files say.

    Attributes:
        name: as it was asked for, a name or a path; several joined by " + ".
        sha256: of the weights' file; of several files, of their hashes in a row.
        provenance: what the weights' file says of itself; of several files, what the first one says.
        classes: class names.
        settings: thresholds of `segment`, those of the first model; replace them to change what it keeps.
        model_settings: of the first model.
        other_settings: of the other models of an ensemble.
        magnification: how the size is found at which an image is shown.
        tta: the views in which each model sees an image, whose findings are averaged; one view at first.
        drawn_for: if given, `predict` draws masks only for cells that these thresholds may give, where an image is no larger than a
            tile, and leaves those of others 0; for runs that make cells and keep no prediction.
        tiles: how an image that is larger than a field of view is parted.
    """

    def __init__(self, name: str, configs: Sequence[Config], hashes: Sequence[str], provenance: dict[str, Any]) -> None:
        self.name, self.provenance = name, provenance
        self.sha256 = hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()
        self.model_settings: ModelSettings = configs[0].model
        self.other_settings = [config.model for config in configs[1:]]
        self.classes = self.model_settings.classes
        self.settings: PostprocessSettings = configs[0].postprocess
        self.magnification, self.tta, self.tiles = MagnificationSettings(), TtaSettings(), TileSettings()
        self.drawn_for: PostprocessSettings | None = None

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """Settings of the network, of magnification, views and tiles, and the thresholds, as JSON takes them."""
        settings = {
            "model": self.model_settings,
            "magnification": self.magnification,
            "tta": self.tta,
            "tiles": self.tiles,
            "postprocess": self.settings,
        }
        return {name: given.model_dump(mode="json") for name, given in settings.items()}

    def configure(self, settings: PredictSettings) -> None:
        """Take views, and how to detect: what `settings.detect` says other than the first model's settings holds for all models."""
        self.magnification, self.tta, self.tiles = settings.magnification, settings.tta, settings.tiles
        own = self.model_settings.detect
        changed = {name: value for name, value in settings.detect if value != getattr(own, name)}

        def with_changes(model: ModelSettings) -> ModelSettings:
            return model.model_copy(update={"detect": model.detect.model_copy(update=changed)})

        self.model_settings = with_changes(self.model_settings)
        self.other_settings = [with_changes(model) for model in self.other_settings]

    def see(self, image: NDArray[Any], sight: Sight) -> Prediction:
        """Raw detections of an image or a tile (H, W) or (H, W, C) that is seen whole."""
        raise NotImplementedError

    def predict(self, image: Pixels, zoom: float = 1.0, kept: KeptTiles | None = None) -> Prediction:
        """Raw detections of an image (H, W) or (H, W, C), 8 or 16 bit or float (see `somaseg.images.normalize`).

        Args:
            image: a large one is seen in tiles.
            zoom: how many times larger the network is shown the image than at the weights' own scale. Weights that see every image at
                one size (`detect.shortest_edge`) are shown wider or narrower tiles.
            kept: where what its tiles find is kept, so that tiles that were seen before are not seen again.
        """
        return predict_tiled(self.see, image, Sight(self._levels(image), zoom, drawn_for=self.drawn_for), self.tiles, kept)

    def fill_tiles(self, image: Pixels, zoom: float, kept: KeptTiles, part: int, parts: int) -> int:
        """See some tiles of a large image and keep what they find, see `somaseg.tiling.predict.fill_tiles`."""
        return fill_tiles(self.see, image, Sight(levels_of(image), zoom), self.tiles, kept, part, parts)

    def _levels(self, image: Pixels) -> Levels:
        return levels_of(image)
