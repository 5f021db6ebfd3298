"""Types of NumPy in signatures as the code writes them: autodoc sees what the aliases `NDArray` and `ArrayLike` stand for."""

import re
from typing import Any

from numpy.typing import ArrayLike
from sphinx.util.typing import stringify_annotation

ARRAY = re.compile(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]")
LIKE = stringify_annotation(ArrayLike, "smart").replace("~", "")
LIKE_SHORT = re.sub(r"[\w.]+\.(?=\w)", "", LIKE)


def setup(app: Any) -> dict[str, bool]:
    """Put the extension into a Sphinx application."""
    app.connect("autodoc-process-signature", _shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _shorten(app: Any, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None) -> tuple[Any, Any]:
    return _short(signature), _short(returns)


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    text = re.sub(r"~?(?:\w+\.)+(?=[A-Za-z_])", "", text)
    return ARRAY.sub(r"NDArray[\1]", text.replace(LIKE_SHORT, "ArrayLike"))
