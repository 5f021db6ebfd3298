"""What the documentation says is so: its commands and its Python run, its links and names exist."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import imageio.v3 as iio
import pytest
import typer

from somaseg.cli.main import app
from somaseg.synth.render import SynthSettings, render

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WEIGHTS = ROOT / "src" / "somaseg" / "weights" / "default.safetensors"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def shell_lines(page):
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


COMMANDS = [words[1:] for words in shell_lines(README) if words[0] == "somaseg"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_of_the_readme_are_understood(words):
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    context = command.make_context("somaseg", rest)
    assert not context.args


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the default weights are not in the package yet")
def test_commands_and_python_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my-images").mkdir()
    iio.imwrite("my-images/culture.png", render(SynthSettings(size=(130, 176)), seed=1)[0])
    for words in COMMANDS:
        # Training takes hours, and nobody's model_final.pth is here; the tests of training, rounds and conversion run them on small data.
        if words[0] not in ("train", "finetune", "rounds") and words[:2] != ["weights", "convert"]:
            code = app(words, standalone_mode=False)
            assert not code or words[:2] == ["data", "check"], words  # there 1 says that it found something
    for code in blocks(README, "python"):
        exec(compile(code, "README.md", "exec"), {})


def test_every_command_is_in_the_readme():
    root = typer.main.get_command(app)
    groups = {name: command.commands for name, command in root.commands.items() if hasattr(command, "commands")}
    names = {(name,) for name in root.commands if name not in groups} | {(name, own) for name, group in groups.items() for own in group}
    shown = {tuple(words[:2]) if words[0] in groups else (words[0],) for words in COMMANDS}
    assert shown == names


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_runs_the_commands_that_stand_beside_it():
    recipe = subprocess.run(["make", "--always-make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    made = [shlex.split(line)[1:] for line in recipe.splitlines() if re.match('"[^"]*/bin/somaseg"', line)]
    assert [words[0] for words in made] == ["synth", "segment"]
    assert all(words in COMMANDS for words in made)


def test_extras_that_the_readme_names_exist():
    extras = set(re.findall(r"pip install [^\n`]*\[(\w+)\]", README))
    assert extras
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_map_of_files_is_whole():
    source = ROOT / "src" / "somaseg"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if path.name != "__init__.py"}
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", ARCHITECTURE, re.MULTILINE))
    assert named == files


def test_the_layers_are_those_of_the_contract():
    contract = next(c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert "\n".join(contract["layers"]) in ARCHITECTURE
