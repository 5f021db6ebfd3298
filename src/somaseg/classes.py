"""When two names mean one class."""


def plain(name: str) -> str:
    """The letters and digits of a name, in lower case: "SH-SY5Y" and "shsy5y" are one class."""
    return "".join(c for c in name.lower() if c.isalnum())
