"""Whether samples are the same."""

from collections.abc import Sequence

import numpy as np

from somaseg.annotations.samples import Sample


def assert_same(found: Sequence[Sample], expected: Sequence[Sample]) -> None:
    """Fail unless names, groups, sizes and cells with their classes are the same."""
    assert [(s.name, s.group, s.instances.size) for s in found] == [(s.name, s.group, s.instances.size) for s in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.instances.boxes, b.instances.boxes)
        assert all(np.array_equal(m, n) for m, n in zip(a.instances.masks, b.instances.masks, strict=True))
        assert [a.instances.classes[i] for i in a.instances.labels] == [b.instances.classes[i] for i in b.instances.labels]
