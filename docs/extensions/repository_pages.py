"""Pages of the site that stand elsewhere in the repository, and links from pages to its files.

README, CONTRIBUTING, CHANGELOG and the model card are read where they are, so that no text stands twice. A link to one of them leads to
its page; a link to any other file outside `docs/` offers the file for download, and one to a folder becomes its name.
"""

import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
PAGES = {
    "index": "README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "model-card": "src/somaseg/weights/MODEL_CARD.md",
}
MARK = "<!-- the text of {} -->"
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]`]|`[^`]*`)*)\]\(([^)#\s]*)(#[^)]*)?\)")


def setup(app: Any) -> dict[str, bool]:
    """Put the extension into a Sphinx application."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", lambda *_: list(PAGES))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Any, docname: str, source: list[str]) -> None:
    text, folder = source[0], (DOCS / docname).parent
    if docname in PAGES:
        file = ROOT / PAGES[docname]
        mark = MARK.format(PAGES[docname])
        if mark not in text:
            raise ValueError(f"docs/{docname}.md: has no line {mark}")
        text = _with_links(text, folder).replace(mark, _with_links(file.read_text(encoding="utf-8"), file.parent))
    else:
        text = _with_links(text, folder)
    source[0] = text


def _with_links(text: str, folder: Path) -> str:
    """The text, which stands in `folder`, with its links as a page in `docs/` needs them; code blocks stay."""
    end, parts = 0, []
    for code in CODE.finditer(text):
        parts += [LINK.sub(lambda link: _link(link, folder), text[end : code.start()]), code.group()]
        end = code.end()
    return "".join([*parts, LINK.sub(lambda link: _link(link, folder), text[end:])])


def _link(link: re.Match[str], folder: Path) -> str:
    image, words, target, anchor = link.groups(default="")
    if not target or "://" in target or target.startswith("mailto:"):
        return link.group()
    path = Path(os.path.normpath(folder / target))
    page = {file: name for name, file in PAGES.items()}.get(path.relative_to(ROOT).as_posix())
    if page is not None:
        return f"[{words}]({page}.md{anchor})"
    if path.is_relative_to(DOCS):
        return f"{image}[{words}]({path.relative_to(DOCS).as_posix()}{anchor})"
    if path.is_dir():
        return words if "`" in words else f"`{path.relative_to(ROOT).as_posix()}/`"
    return f"{{download}}`{words.replace('`', '')} <{os.path.relpath(path, DOCS)}>`"
