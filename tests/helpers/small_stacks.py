"""Stacks of masks, so small that they meet in every way."""

import numpy as np
from hypothesis import strategies as st

masks_of_small_image = st.integers(0, 4).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=n, max_size=n).map(
        lambda rows: np.array(rows, bool).reshape(n, 2, 3)
    )
)
