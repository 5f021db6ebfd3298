"""Run tasks in order, or side by side with Ray, on this machine or on a cluster.

A task must be resumable: run again, it goes on from what it left on disk. So a worker may be killed at any time and nothing is lost.
"""

import importlib
import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somaseg.errors import InputError, MissingExtraError

STORE = 100_000_000  # bytes of Ray's object store; tasks pass on files, so it holds next to nothing


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


def run_tasks(tasks: Sequence[Task], ray: str = "none", retries: int = 2, cpus: int | None = None) -> dict[str, str]:
    """Run tasks that do not depend on each other; one that fails does not stop the others.

    A task that raises would raise again and is not tried again. One whose process dies, such as for want of memory or with its
    machine, is tried again by Ray; without Ray it takes this process along, and whoever starts the run again resumes it.

    Args:
        tasks: with names of their own.
        ray: "none" runs them in order in this process; "local" as many at once as this machine can, by Ray; "auto" on the Ray cluster
            of this machine; else the address of one. Files must be the same on all machines of a cluster.
        retries: how often a task whose process died is tried again.
        cpus: processors that "local" shares among tasks; None takes all.

    Returns:
        What went wrong, by the name of the task; empty when all is well.

    Raises:
        InputError: when there is no such cluster, or "local" cannot ever run a task.
        MissingExtraError: when Ray is needed but not installed.
    """
    in_order = ray == "none" or not tasks
    found = {task.name: attempt(task) for task in tasks} if in_order else _run_with_ray(tasks, ray, retries, cpus)
    return {name: error for name, error in found.items() if error is not None}


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


def _run_with_ray(tasks: Sequence[Task], address: str, retries: int, cpus: int | None) -> dict[str, str | None]:
    # Statistics of use are not sent unless the user asks for it; Ray reads this when it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    try:
        if address == "local":
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=STORE)
        else:
            ray.init(address=address)
    except ConnectionError as error:
        raise InputError(f"--ray {address}: no Ray cluster answers ({error}): start one with `ray start --head`, or give local") from error
    try:
        if address == "local":
            _check_needs(tasks, ray.cluster_resources())
        remote = ray.remote(attempt)
        waiting = {
            task.name: remote.options(name=task.name, num_cpus=task.cpus, num_gpus=task.gpus, max_retries=retries).remote(task)
            for task in tasks
        }
        found: dict[str, str | None] = {}
        for name, reference in waiting.items():
            try:
                found[name] = ray.get(reference)
            except ray.exceptions.RayError as error:
                found[name] = f"its process died, also when it was tried again {retries} times ({str(error).splitlines()[0]})"
        return found
    finally:
        ray.shutdown()


def _check_needs(tasks: Sequence[Task], has: Mapping[str, float]) -> None:
    """Raise InputError when a task asks for more than there is: Ray would wait for ever."""
    for task in tasks:
        for kind, needed in (("CPU", task.cpus), ("GPU", task.gpus)):
            if needed > has.get(kind, 0):
                raise InputError(f"{task.name}: needs {needed:g} {kind}, this machine has {has.get(kind, 0):g}: lower it in the settings")
