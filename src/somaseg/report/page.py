"""The page as text: one file that needs no other and asks no network."""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from somaseg.report.charts import HEIGHT, WIDTH


def render(told: Mapping[str, Any], data: Mapping[str, Any], pictures: Mapping[str, Any]) -> bytes:
    """The page as UTF-8. All names are escaped, and a policy in the page lets no script run but its own.

    Args:
        told: what stands in the page as text, see page.html.
        data: what its script shows: tables and images.
        pictures: base64 of pictures, which the script puts in place when they are looked at.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    script, style = _own("page.js"), _own("page.css")
    policy = f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src '{_hash(script)}'; base-uri 'none'"
    text = environment.from_string(_own("page.html")).render(
        told,
        policy=policy,
        script=Markup(script),
        style=Markup(style),
        data=_json(data),
        pictures=_json(pictures),
        width=WIDTH,
        height=HEIGHT,
    )
    return text.encode("utf-8", "replace")


def pretty(value: Any) -> str:
    """A value of run.json for people."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _json(value: Any) -> Markup:
    """JSON that cannot end the element it stands in: `<`, `>`, `&`, `'` and all beyond ASCII are coded."""
    return htmlsafe_json_dumps(value, dumps=json.dumps, separators=(",", ":"), allow_nan=False)


def _own(name: str) -> str:
    return resources.files("somaseg").joinpath("report", name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
