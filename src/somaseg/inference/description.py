"""What is known of a model before its network is built: all that its results depend on."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from somaseg.config import Config, ModelSettings, PostprocessSettings, PredictSettings, TileSettings, TtaSettings


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
        self.tta, self.tiles = TtaSettings(), TileSettings()
        self.drawn_for: PostprocessSettings | None = None

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """Settings of the network, of views and tiles, and the thresholds, as JSON takes them."""
        settings = {"model": self.model_settings, "tta": self.tta, "tiles": self.tiles, "postprocess": self.settings}
        return {name: given.model_dump(mode="json") for name, given in settings.items()}

    def configure(self, settings: PredictSettings) -> None:
        """Take views, and how to detect: what `settings.detect` says other than the first model's settings holds for all models."""
        self.tta, self.tiles = settings.tta, settings.tiles
        own = self.model_settings.detect
        changed = {name: value for name, value in settings.detect if value != getattr(own, name)}

        def with_changes(model: ModelSettings) -> ModelSettings:
            return model.model_copy(update={"detect": model.detect.model_copy(update=changed)})

        self.model_settings = with_changes(self.model_settings)
        self.other_settings = [with_changes(model) for model in self.other_settings]
