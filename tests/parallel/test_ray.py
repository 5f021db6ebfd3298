"""Tasks side by side with Ray: what a killed worker costs, what a machine could never run."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from somaseg.errors import InputError
from somaseg.parallel.run import run_tasks
from somaseg.parallel.task import Task, attempt

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs somaseg[ray]")


@needs_ray
@pytest.mark.filterwarnings("default")  # a forked process of Ray is none of ours
def test_a_killed_worker_of_ray_is_retried_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "helpers"))  # where workers find errands
    once, asked, written = tmp_path / "once", tmp_path / "asked", tmp_path / "written"
    failures = run_tasks(
        [
            Task("dies once", "errands:die_once", {"path": once}, outputs=(once,)),
            Task("refuses", "errands:refuse", {"path": asked}),
            Task("writes", "errands:write", {"path": written, "text": "done"}, outputs=(written,)),
        ],
        ray="local",
        retries=1,
        cpus=2,
    )
    assert failures == {"refuses": "a.png: no image: leave it out"}
    assert once.read_text() == "a line\n" * 2
    assert asked.read_text() == "asked\n"
    assert written.read_text() == "done"


@needs_ray
def test_a_task_whose_process_always_dies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def died(reference: object) -> None:
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(ray, "init", lambda **settings: None)
    monkeypatch.setattr(ray, "remote", lambda function: function)
    monkeypatch.setattr(attempt, "options", lambda **needs: SimpleNamespace(remote=lambda task: None), raising=False)
    monkeypatch.setattr(ray, "wait", lambda references, num_returns: (references, []))
    monkeypatch.setattr(ray, "get", died)
    failures = run_tasks([Task("dies", "errands:forget", {})], ray="auto", retries=3)
    assert failures.keys() == {"dies"}
    assert failures["dies"].startswith("its process died, also when it was tried again 3 times (")


@needs_ray
def test_local_ray_refuses_a_task_that_the_machine_could_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "init", lambda **settings: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(InputError, match="large: needs 3 CPU, this machine has 2"):
        run_tasks([Task("large", "errands:forget", {}, cpus=3)], ray="local")
    with pytest.raises(InputError, match="graphic: needs 1 GPU, this machine has 0"):
        run_tasks([Task("graphic", "errands:forget", {}, gpus=1)], ray="local")
