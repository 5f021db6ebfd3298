"""Run tasks in order, or side by side with Ray, on this machine or on a cluster.

A task must be resumable: run again, it goes on from what it left on disk. So a worker may be killed at any time and nothing is lost.
"""

from collections.abc import Callable, Sequence

from somaseg.parallel.ray import run_with_ray
from somaseg.parallel.task import Task, attempt


def run_tasks(
    tasks: Sequence[Task],
    ray: str = "none",
    retries: int = 2,
    cpus: int | None = None,
    ended: Callable[[Task], None] = lambda task: None,
) -> dict[str, str]:
    """Run tasks that do not depend on each other; one that fails does not stop the others.

    A task that raises would raise again and is not tried again. One whose process dies, such as for want of memory or with its
    machine, is tried again by Ray; without Ray it takes this process along, and whoever starts the run again resumes it.

    Args:
        tasks: with names of their own.
        ray: "none" runs them in order in this process; "local" as many at once as this machine can, by Ray; "auto" on the Ray cluster
            of this machine; else the address of one. Files must be the same on all machines of a cluster.
        retries: how often a task whose process died is tried again.
        cpus: processors that "local" shares among tasks; None takes all.
        ended: is told of each task that Ray has ended, well or not.

    Returns:
        What went wrong, by the name of the task; empty when all is well.

    Raises:
        InputError: when there is no such cluster, or "local" cannot ever run a task.
        MissingExtraError: when Ray is needed but not installed.
    """
    in_order = ray == "none" or not tasks
    found = {task.name: attempt(task) for task in tasks} if in_order else run_with_ray(tasks, ray, retries, cpus, ended)
    return {name: error for name, error in found.items() if error is not None}
