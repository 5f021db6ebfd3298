"""Run tasks side by side with Ray."""

import os
from collections.abc import Callable, Mapping, Sequence

from somaseg.errors import InputError, MissingExtraError
from somaseg.parallel.task import Task, attempt

STORE = 100_000_000  # bytes of Ray's object store; tasks pass on files, so it holds next to nothing


def run_with_ray(
    tasks: Sequence[Task], address: str, retries: int, cpus: int | None, ended: Callable[[Task], None]
) -> dict[str, str | None]:
    """What went wrong by the name of the task, None where nothing did; see `somaseg.parallel.run.run_tasks`."""
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
            remote.options(name=task.name, num_cpus=task.cpus, num_gpus=task.gpus, max_retries=retries).remote(task): task for task in tasks
        }
        found: dict[str, str | None] = {}
        while waiting:
            (reference,), _ = ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(reference)
            try:
                found[task.name] = ray.get(reference)
            except ray.exceptions.RayError as error:
                found[task.name] = f"its process died, also when it was tried again {retries} times ({str(error).splitlines()[0]})"
            ended(task)
        return {task.name: found[task.name] for task in tasks}
    finally:
        ray.shutdown()


def _check_needs(tasks: Sequence[Task], has: Mapping[str, float]) -> None:
    """Raise InputError when a task asks for more than there is: Ray would wait for ever."""
    for task in tasks:
        for kind, needed in (("CPU", task.cpus), ("GPU", task.gpus)):
            if needed > has.get(kind, 0):
                raise InputError(f"{task.name}: needs {needed:g} {kind}, this machine has {has.get(kind, 0):g}: lower it in the settings")
