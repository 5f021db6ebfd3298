"""When two names mean one class."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from somaseg.errors import InputError


def plain(name: str) -> str:
    """The letters and digits of a name, in lower case: "SH-SY5Y" and "shsy5y" are one class."""
    return "".join(c for c in name.lower() if c.isalnum())


def by_class(values: Mapping[str, float], classes: Sequence[str], field: str) -> NDArray[np.float64]:
    """One value a class (K,) from a mapping of class names, with `default` for those that it does not name.

    Raises:
        InputError: when the mapping, which stands in the settings as `field`, names an unknown class.
    """
    unknown = sorted(set(values) - {"default", *classes})
    if unknown:
        raise InputError(f"{field} names class {unknown[0]!r}, the detector knows {', '.join(classes)}: correct the name")
    return np.array([values.get(name, values["default"]) for name in classes], np.float64)
