"""What is known of a model before its network is built."""

import hashlib

from somaseg.config import Config, DetectSettings, ModelSettings, PostprocessSettings, PredictSettings, TtaSettings
from somaseg.inference.description import ModelDescription

FIRST = Config(model=ModelSettings(detect=DetectSettings(scale=1.5, max_detections=300)), postprocess=PostprocessSettings(min_area=33))
OTHER = Config(model=ModelSettings(detect=DetectSettings(scale=2.0)))


def test_one_model_has_the_hash_of_its_file_and_several_one_of_their_own():
    assert ModelDescription("a", [FIRST], ["ab"], {}).sha256 == "ab"
    both = ModelDescription("a + b", [FIRST, OTHER], ["ab", "cd"], {"data": "x"})
    assert both.sha256 == hashlib.sha256(b"abcd").hexdigest()
    assert (both.classes, both.settings, both.provenance) == (FIRST.model.classes, FIRST.postprocess, {"data": "x"})
    assert both.about.keys() == {"model", "magnification", "tta", "tiles", "postprocess"}
    assert both.about["postprocess"]["min_area"] == {"default": 33}


def test_what_is_asked_for_other_than_the_first_models_own_holds_for_all():
    model = ModelDescription("a + b", [FIRST, OTHER], ["ab", "cd"], {})
    asked = PredictSettings(tta=TtaSettings(turns=(0, 180)), detect=FIRST.model.detect.model_copy(update={"max_detections": 900}))
    model.configure(asked)
    assert model.tta.turns == (0, 180)
    assert (model.model_settings.detect.scale, model.model_settings.detect.max_detections) == (1.5, 900)
    (other,) = model.other_settings
    assert (other.detect.scale, other.detect.max_detections) == (2.0, 900)  # its own scale stays
