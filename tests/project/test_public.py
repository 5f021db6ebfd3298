import pytest

import somaseg


@pytest.mark.parametrize("name", sorted(somaseg.__all__))
def test_public_names_are_where_they_are_said_to_be(name):
    assert getattr(somaseg, name) is not None
