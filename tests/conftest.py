from collections.abc import Generator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

# A busy machine must not make a test fail: speed is measured in benchmarks/, not here.
settings.register_profile("somaseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("somaseg")

# Where only the core is installed, files of tests that import what an extra brings are skipped. No test is skipped once it runs, so that
# nothing of the core may come to need an extra unseen.
MISSING = [name for name in ("torch", "torchvision", "timm", "pytorch_lightning", "optuna") if find_spec(name) is None]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    text = str(report.longrepr)
    lacking = [name for name in MISSING if f"No module named '{name}'" in text or f"{name.replace('_', '-')} is not installed" in text]
    if report.outcome == "failed" and lacking:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: needs {lacking[0]}")
    return report
