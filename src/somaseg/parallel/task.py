"""A task, and one attempt at it."""

import importlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somaseg.errors import InputError, MissingExtraError


@dataclass(frozen=True)
class Task:
    """A call of a function that leaves files.

    Attributes:
        name: what to call it; unique among the tasks of a run.
        function: `module:function`; a worker imports it.
        arguments: by name; plain values and paths, which every worker can reach.
        cpus: processors that it needs.
        gpus: graphics cards that it needs; a share of one is allowed.
        outputs: files that must be there when it has ended.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    cpus: float = 1
    gpus: float = 0
    outputs: tuple[Path, ...] = ()


def attempt(task: Task) -> str | None:
    """Run a task here; what went wrong, or None."""
    module, _, function = task.function.partition(":")
    try:
        getattr(importlib.import_module(module), function)(**task.arguments)
    except (InputError, MissingExtraError) as error:
        return str(error)
    except Exception as error:  # whatever it is, the other tasks must go on, and the trace must be seen
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    missing = [str(path) for path in task.outputs if not path.exists()]
    return f"ended without writing {', '.join(missing)}" if missing else None
