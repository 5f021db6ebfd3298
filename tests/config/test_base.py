import pytest

from somaseg.config import (
    Config,
    PostprocessSettings,
    SegmentSettings,
    load_settings,
    override,
    update,
)
from somaseg.errors import InputError


def test_a_plain_number_holds_for_all_classes():
    assert PostprocessSettings(min_area=80).min_area == {"default": 80}


def test_override_changes_what_it_names_and_nothing_else():
    before = SegmentSettings(postprocess=PostprocessSettings(min_area={"default": 60, "cort": 80}))
    after = override(before, ["postprocess.min_area.astro=120", "postprocess.overlaps=keep", "postprocess.nms_iou=0.2"])
    assert after.postprocess.min_area == {"default": 60, "cort": 80, "astro": 120}
    assert (after.postprocess.overlaps, after.postprocess.nms_iou) == ("keep", 0.2)
    assert after.postprocess.score_thresh == before.postprocess.score_thresh
    assert before.postprocess.min_area == {"default": 60, "cort": 80}


def test_override_takes_a_list_of_steps():
    after = override(SegmentSettings(), ["postprocess.steps=[screen, paste, border]"])
    assert after.postprocess.steps == ("screen", "paste", "border")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("postprocess.nms_iou", "expected KEY=VALUE with a key below magnification, tta, detect, tiles, postprocess, fuse"),
        ("train.steps=5", "expected KEY=VALUE with a key below magnification, tta, detect, tiles, postprocess, fuse"),
        ("postprocess.nms_iou.cort=1", "expected KEY=VALUE"),
        ("postprocess.nms=0.1", "postprocess.nms: there is no such setting"),
        ("postprocess.nms_iou=2", "postprocess.nms_iou: Input should be less than or equal to 1, found 2"),
        ("postprocess.overlaps=cut", "postprocess.overlaps: Input should be 'trim', 'probability', 'drop' or 'keep'"),
        ("postprocess.steps=[vote]", "postprocess.steps: Value error, paste is missing: list it"),
        ("postprocess.steps=[rank,paste]", "rank comes before paste"),
        ("postprocess.min_area=[", "cannot be read as a YAML value"),
    ],
)
def test_override_refuses_what_it_does_not_know(assignment, message):
    with pytest.raises(InputError, match="--set") as caught:
        override(SegmentSettings(), [assignment])
    assert message in str(caught.value)


def test_settings_read_from_yaml_and_name_the_file_of_a_fault(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("nms_iou: 0.1\nscore_thresh: {default: 0.4, astro: 0.5}\n")
    assert load_settings(PostprocessSettings, path) == PostprocessSettings(nms_iou=0.1, score_thresh={"default": 0.4, "astro": 0.5})
    path.write_text("nms: 0.1\n")
    with pytest.raises(InputError, match=r"settings\.yaml: nms: there is no such setting"):
        load_settings(PostprocessSettings, path)


def test_update_takes_over_the_fields_that_the_file_names_each_of_them_whole(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("postprocess:\n  min_area: {default: 5, astro: 9}\n  score_thresh: 0.4\nfuse: {method: nms}\n")
    before = SegmentSettings(postprocess=PostprocessSettings(min_area={"default": 60, "cort": 80}, nms_iou=0.9))
    after = update(before, path)
    assert after.postprocess == before.postprocess.model_copy(
        update={"min_area": {"default": 5, "astro": 9}, "score_thresh": {"default": 0.4}}
    )
    assert after.fuse.method == "nms"
    assert after.tta == before.tta
    assert update(before, None) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("postprocess: {nms: 1}", "postprocess.nms: there is no such setting"),
        ("post: {nms_iou: 1}", "post: there is no such setting"),
        ("postprocess: 3", "postprocess: Input should be a valid dictionary"),
        ("postprocess: {min_area: {astro: 3}}", "postprocess.min_area: .*give a value for `default`"),
        ("- 3", "found list, expected settings as `name: value` lines"),
        ("a: [", "cannot be read as YAML settings"),
    ],
)
def test_update_names_the_file_of_a_fault(tmp_path, text, message):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"settings\.yaml: {message}"):
        update(SegmentSettings(), path)


@pytest.mark.parametrize(
    ("kind", "assignment", "names"),
    [
        (
            SegmentSettings,
            "tile=1",
            "tile: there is no such setting, found 1: choose one of magnification, tta, detect, tiles, postprocess, fuse",
        ),
        (SegmentSettings, "detect.scal=2", r"choose one of scale, shortest_edge, .*, max_detections"),
        (Config, "train.optimizer.momentum=0.9", "choose one of rate, weight_decay, .*, kind"),  # which AdamW has not, but SGD
        (Config, "train.schedule={kind: cosine, at: 1}", "choose one of kind, final$"),
    ],
)
def test_an_unknown_setting_is_told_which_there_are(kind, assignment, names):
    with pytest.raises(InputError, match=names):
        override(kind(), [assignment])
