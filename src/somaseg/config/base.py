"""What all settings share: frozen pydantic models in which a typo is an error that names the field; YAML and `--set`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from somaseg.errors import InputError


class Settings(BaseModel):
    """Base of all settings: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _by_class(value: Any) -> Any:
    """A plain number holds for all classes."""
    return {"default": value} if isinstance(value, (int, float, str)) else value


def _has_default(values: dict[str, float]) -> dict[str, float]:
    if "default" not in values:
        raise ValueError("give a value for `default`: it holds for the classes that are not named")
    return values


Probability = Annotated[float, Field(ge=0, le=1)]
ProbabilityByClass = Annotated[dict[str, Probability], BeforeValidator(_by_class), AfterValidator(_has_default)]
AreaByClass = Annotated[dict[str, Annotated[float, Field(ge=0)]], BeforeValidator(_by_class), AfterValidator(_has_default)]
S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S], path: Path) -> S:
    """Read settings of `kind` from a YAML file; what the file leaves out keeps its default.

    Raises:
        InputError: when the file is not a YAML mapping, or a field is unknown or has a wrong value.
    """
    return _validated(kind, _read_yaml(path), path)


def update(settings: S, path: Path | None) -> S:
    """Settings with those of a YAML file on top: of each section it takes over the fields that the file names, each of them whole.

    Args:
        settings: what holds for all that the file leaves out.
        path: the file; without one the settings stay as they are.

    Raises:
        InputError: when the file is not a YAML mapping, or a field is unknown or has a wrong value.
    """
    if path is None:
        return settings
    given, values = _read_yaml(path), settings.model_dump()
    for section, fields in given.items():
        known = values.get(section)
        values[section] = {**known, **fields} if isinstance(known, dict) and isinstance(fields, dict) else fields
    return _validated(type(settings), values, path)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML settings: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected settings as `name: value` lines")
    return values


def _validated(kind: type[S], values: dict[str, Any], path: Path) -> S:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_faults(error)}") from error


def override(settings: S, assignments: Sequence[str]) -> S:
    """Settings with assignments such as `postprocess.nms_iou=0.2` or `postprocess.min_area.astro=120` made; values are YAML.

    Raises:
        InputError: when an assignment is none, or names no field, or gives it a wrong value.
    """
    values = settings.model_dump()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        *parents, last = name.split(".")
        place: Any = values
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict):
            raise InputError(f"--set {assignment}: expected KEY=VALUE with a key below {', '.join(values)}")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {assignment}: {text!r} cannot be read as a YAML value") from error
    try:
        return type(settings).model_validate(values)
    except ValidationError as error:
        raise InputError(f"--set {' '.join(assignments)}: {_faults(error)}") from error


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors())
