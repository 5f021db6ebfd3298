"""What a network is built of, from the shapes of its tensors."""

from somaseg.checkpoints.architecture import architecture, differences, shapes_of


def test_what_the_tensors_tell(weights):
    assert architecture(shapes_of(weights)) == {
        "input channels": 3,
        "stem width": 16,
        "blocks": [3, 4, 6, 3],
        "bottleneck width": 8,
        "width of a group": 2,
        "output width": 32,
        "deformable": ["none", "plain", "plain", "plain"],
        "pyramid width": 32,
        "anchors at a place": 3,
        "pyramid levels": 4,
        "box stages": 3,
        "box convolutions": 2,
        "box layers": 1,
        "mask convolutions": 2,
        "box convolution width": 32,
        "box layer width": 64,
        "box deltas": 4,
        "mask width": 32,
    }
    assert architecture({}) == {}


def test_facts_that_contradict_each_other():
    found = {"box stages": 3, "mask width": 32}
    assert differences(found, {"box stages": 3, "mask width": 64, "pyramid width": 16}) == [
        "mask width: 32 in the file, 64 in the settings"
    ]
