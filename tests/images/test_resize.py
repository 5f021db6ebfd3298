import pytest

from somaseg.images.resize import size_by_edge


@pytest.mark.parametrize(
    ("size", "edge", "longest", "expected"),
    [
        ((520, 704), 520, None, (520, 704)),
        ((520, 704), 800, 1333, (800, 1083)),  # 1083.08
        ((704, 520), 800, 1333, (1083, 800)),
        ((520, 704), 650, 1408, (650, 880)),
        ((520, 704), 1300, 2000, (1300, 1760)),
        ((468, 634), 1040, 1408, (1039, 1408)),  # 1408.89 wide would be too long: 1040 x 1408 / 1408.89 = 1039.34
        ((4, 7), 6, None, (6, 11)),  # 10.5 rounds up
        ((10, 10), 7, 5, (5, 5)),
        ((1, 1000), 8, 100, (1, 100)),
    ],
)
def test_sizes_follow_detectron2(size, edge, longest, expected):
    assert size_by_edge(size, edge, longest) == expected
