"""Tables of all settings, made from the pydantic models in `somaseg.config` and their docstrings.

In the page `settings`, the line `<!-- tables -->` gives way to them when the site is built, so that they cannot go stale.
"""

import inspect
import re
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from somaseg import config

MARK = "<!-- tables -->"
UNNAMED = "rounds"
"""The section whose settings stand alone in a file, so that its name is no part of theirs."""


def setup(app: Any) -> dict[str, bool]:
    """Put the extension into a Sphinx application."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", lambda *_: ["settings"])
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Any, docname: str, source: list[str]) -> None:
    if docname == "settings":
        source[0] = source[0].replace(MARK, settings_markdown())


def sections() -> dict[str, type[config.Settings]]:
    """The settings by what their names begin with: those of the commands without training, then of training, then of rounds."""
    fields = {**config.PseudoRunSettings.model_fields, **config.Config.model_fields}
    return {**{name: models_in(field)[0] for name, field in fields.items()}, UNNAMED: config.RoundsSettings}


def settings_markdown() -> str:
    """A part of Markdown for each section, with one for each model inside it."""
    parts = []
    for name, model in sections().items():
        parts += [f"### {name}", *_tables(model, "" if name == UNNAMED else f"{name}.", [*sections().values()])]
    return "\n\n".join(parts)


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring says of each field in its Attributes, where a line may name several; of a model in it, else, what that is."""
    described = {name: _summary(models[0]) for name, field in model.model_fields.items() if (models := models_in(field))}
    _, _, attributes = (inspect.getdoc(model) or "").partition("Attributes:\n")
    for entry in re.split(r"\n(?=    \S)", attributes.rstrip()):
        names, _, text = " ".join(entry.split()).partition(": ")
        described |= dict.fromkeys((name.strip() for name in names.split(",")), text)
    return {name: described.get(name, "") for name in model.model_fields}


def models_in(field: FieldInfo) -> list[type[BaseModel]]:
    """The settings that a field holds: one model, or several of which one is chosen by its `kind`."""
    return [kind for kind in _parts(field.annotation) if inspect.isclass(kind) and issubclass(kind, BaseModel)]


def _parts(annotation: Any) -> list[Any]:
    """A type and the types that it is made of."""
    return [annotation, *(part for one in get_args(annotation) for part in _parts(one))]


def _tables(model: type[BaseModel], prefix: str, known: list[type[BaseModel]]) -> list[str]:
    """What a model is, the table of its fields, then the models in it; those that are a section of their own are linked."""
    schema, rows, inner = model.model_json_schema(), {}, []
    for name, text in descriptions(model).items():
        field, models = model.model_fields[name], models_in(model.model_fields[name])
        own = f"{prefix}{name}.NAME" if get_origin(field.annotation) is dict and models else f"{prefix}{name}"
        if name == "kind":
            continue
        if models and models[0] in known:
            default, values = "", f"[{name}](#{name})"
        elif models:
            default, values = _code(f"kind: {field.default.kind}") if len(models) > 1 else "", "see below"
            inner += [part for one in models for part in _inner(one, own, known)]
        else:
            default = "*required*" if field.is_required() else _code(plain(field.get_default(call_default_factory=True)))
            values = describe(schema["properties"][name], schema.get("$defs", {}))
        rows.setdefault(text, []).append((f"`{own}`", default, values))
    lines = [" | ".join("<br>".join(column) for column in zip(*cells, strict=True)) + f" | {text}" for text, cells in rows.items()]
    table = ["| name | default | values | what it is |", "|---|---|---|---|", *(f"| {line} |".replace("\n", " ") for line in lines)]
    return [_summary(model), "\n".join(table), *inner]


def _inner(model: type[BaseModel], name: str, known: list[type[BaseModel]]) -> list[str]:
    kind = model.model_fields.get("kind")
    return [f"#### {name}, kind {kind.default}" if kind else f"#### {name}", *_tables(model, f"{name}.", known)]


def _summary(model: type[BaseModel]) -> str:
    """The docstring up to its Attributes, without where else to read."""
    text = (inspect.getdoc(model) or "").partition("Attributes:\n")[0].strip()
    return re.sub(r"\(docs/(\w+)\.md\b[^)]*\)", r"([more](\1.md))", text)


def describe(schema: dict[str, Any], known: dict[str, Any]) -> str:
    """The values that a JSON schema allows, in words."""
    if "$ref" in schema:
        return describe(known[schema["$ref"].rsplit("/", 1)[-1]], known)
    if "enum" in schema:
        return ", ".join(_code(plain(value)) for value in schema["enum"])
    if "const" in schema:
        return _code(plain(schema["const"]))
    if "anyOf" in schema:
        return " or ".join(describe(one, known) for one in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            words = [describe(one, known) for one in schema["prefixItems"]]
            return f"list of {len(words)}: {words[0] if len(set(words)) == 1 else ', '.join(words)}"
        return f"list of {describe(schema['items'], known)}" if "items" in schema else "list"
    if kind == "object":
        return f"by name: {describe(schema['additionalProperties'], known)}"
    words = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text", "null": "nothing"}.get(kind, "")
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    limits = [f"{least:g} to {most:g}" if least is not None and most is not None else "" if least is None else f"{least:g} or more"]
    limits += [f"at most {most:g}" if least is None and most is not None else ""]
    limits += ["" if above is None else f"above {above:g}", "" if below is None else f"below {below:g}"]
    return " ".join([words, *filter(None, limits)])


def plain(value: Any) -> str:
    """A value as a settings file writes it, on one line."""
    given = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    given = _without_tuples(given)
    text = yaml.safe_dump(given, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(one) for key, one in value.items()}
    return [_without_tuples(one) for one in value] if isinstance(value, (list, tuple)) else value


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
