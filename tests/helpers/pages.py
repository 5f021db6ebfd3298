"""Pages of HTML, taken apart."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """The elements of a page, and the text in each kind of them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self.text = ""
        self._script: str | bool | None = False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = False

    def handle_data(self, data):
        if self._script is not False:
            self.scripts[self._script] += data
        else:
            self.text += data


def parsed(text: str) -> Reader:
    """A page, read as a browser reads it without running a script."""
    reader = Reader()
    reader.feed(text)
    return reader
