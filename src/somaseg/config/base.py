"""What all settings share: frozen pydantic models in which a typo is an error that names the field; YAML and `--set`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from somaseg.errors import InputError, shown
from somaseg.texts.encoding import read_text
from somaseg.texts.yaml_text import parse_yaml


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
FAULTS_SHOWN = 10


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
    text = read_text(path)
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as YAML settings: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {type(values).__name__}, expected settings as `name: value` lines")
    return values


def _validated(kind: type[S], values: dict[str, Any], path: Path) -> S:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_faults(kind, error)}") from error


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
            place[last] = parse_yaml(text)
        except ValueError as error:
            raise InputError(f"--set {assignment}: {text!r} cannot be read as a YAML value") from error
    try:
        return type(settings).model_validate(values)
    except ValidationError as error:
        raise InputError(f"--set {' '.join(assignments)}: {_faults(type(settings), error)}") from error


def _faults(kind: type[Settings], error: ValidationError) -> str:
    faults = error.errors()
    more = f"; and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
    return "; ".join(_fault(kind, fault) for fault in faults[:FAULTS_SHOWN]) + more


def _fault(kind: type[Settings], fault: ErrorDetails) -> str:
    name = ".".join(map(str, fault["loc"]))[:200]
    if fault["type"] == "extra_forbidden":
        known = ", ".join(_fields(kind, fault["loc"][:-1]))
        return f"{name}: there is no such setting, found {shown(fault['input'])}: choose one of {known}"
    return f"{name}: {fault['msg']}, found {shown(fault['input'])}"


def _fields(kind: type[Settings], place: tuple[int | str, ...]) -> list[str]:
    """Names of the settings at a place below `kind`, as pydantic tells it: fields, and of a choice of settings its `kind`."""
    kinds = [kind]
    for part in place:
        with_field = [one.model_fields[part] for one in kinds if part in one.model_fields]
        if with_field:
            kinds = [found for field in with_field for found in _settings_in(field.annotation)]
        else:
            kinds = [one for one in kinds if "kind" in one.model_fields and one.model_fields["kind"].default == part]
    return list(dict.fromkeys(name for one in kinds for name in one.model_fields))


def _settings_in(annotation: Any) -> list[type[Settings]]:
    """The settings that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [found for part in get_args(annotation) for found in _settings_in(part)]
