"""Groups of unlabelled images beside annotated ones."""

from somaseg.pseudolabels.groups import groups_beside
from textures import sample, texture


def test_an_image_of_an_annotated_field_has_its_group(tmp_path):
    old = tmp_path / "old"
    annotated = [sample(old, "a", texture(1), "7"), sample(old, "b", texture(2), "7"), sample(old, "c", texture(3), "8")]
    annotated += [sample(old, "d", texture(4)), sample(old, "e", texture(5), "9"), sample(old, "f", texture(5, (3, 3)), "10")]
    images = {"a": texture(1, (9, -14), 5), "x": texture(2, (0, 8), 6), "y": texture(6), "z": texture(6, (8, 8), 1), "lone": texture(7)}
    images |= {"near_d": texture(4, (5, 5), 2), "near_e": texture(5, (-6, 2), 3)}
    new = [sample(tmp_path / "new", name, image) for name, image in images.items()]
    groups = groups_beside(new, annotated)
    assert groups.of == {"a": "7", "x": "7", "y": "y", "z": "y", "lone": "lone"}
    assert groups.left_out == {
        "near_d": "shows the field of the annotated image d, which has no group",
        "near_e": "shows the field of several groups: 10, 9",
    }
