import json
import platform

from somaseg.provenance import PACKAGES, Manifest, versions


def test_versions_name_python_and_the_packages_that_results_depend_on():
    assert versions()["python"] == platform.python_version()
    assert set(versions(["rich"])) == {"python", "rich", *PACKAGES}


def test_a_manifest_leaves_out_what_a_run_has_not():
    settings, models, failures = {"postprocess": {}}, {"weights": {"name": "default"}}, {"a.png": "why"}
    manifest = Manifest(settings, models, images=2, failures=failures, seconds=1.5, more={"steps": {"vote": 0}})
    told = json.loads(manifest.json())
    assert "cells" not in told
    assert "skipped" not in told
    assert list(told) == ["settings", "weights", "versions", "images", "failures", "warnings", "seconds", "steps"]
    assert (told["images"], told["failures"], told["warnings"]) == (2, {"a.png": "why"}, {})
