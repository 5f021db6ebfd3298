"""Every setting, as frozen pydantic models: a typo is an error that names the field."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from somaseg.errors import InputError


class Settings(BaseModel):
    """Base of all settings: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S], path: Path) -> S:
    """Read settings of `kind` from a YAML file; what the file leaves out keeps its default.

    Raises:
        InputError: when the file is not a YAML mapping, or a field is unknown or has a wrong value.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML settings: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected settings as `name: value` lines")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors())
        raise InputError(f"{path}: {faults}") from error
