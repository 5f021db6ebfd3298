"""What the documentation says is so: its commands and its Python run, its links and names exist, its lines are short."""

import dataclasses
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch
import typer
import yaml

import somaseg
from somaseg.cli.main import app
from somaseg.config import Config, SegmentSettings
from somaseg.images.read import Frame
from somaseg.postprocessing.candidates import Candidates
from somaseg.synth import folder as synth_folder
from somaseg.synth.folder import write_cultures
from somaseg.synth.render import SynthSettings, render

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CARD = "src/somaseg/weights/MODEL_CARD.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / CARD, *sorted(DOCS.glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
WEIGHTS = ROOT / "src" / "somaseg" / "weights" / "default.safetensors"
WIDTH = 100  # columns of prose
# Training takes hours, and nobody's model_final.pth is here; the tests of training, rounds and conversion run them on small data.
LONG = (["train"], ["finetune"], ["rounds"], ["weights", "convert"])
# A name in capitals, or of a folder that training leaves, is that of files which only the reader has.
ABSENT = re.compile(r"(^|[/=\[])[A-Z][A-Z_]{3,}|^(runs|rounds)/")


def blocks(text, language):
    """The blocks of a page in a language; those in lists are indented."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def shell_lines(text):
    lines = "".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def commands(text):
    """What follows `somaseg`, at the beginning of a line or behind variables and launchers."""
    return [words[words.index("somaseg") + 1 :] for words in shell_lines(text) if "somaseg" in words]


def can_run(words):
    long = any(words[: len(start)] == start for start in LONG) and "--dry-run" not in words
    return not long and not any(ABSENT.search(word) for word in words)


COMMANDS = {name: commands(text) for name, text in TEXTS.items()}
SHOWN = list(dict.fromkeys(tuple(words) for found in COMMANDS.values() for words in found))
# The card's images are many, its commands those of other pages.
RUN = [name for name, text in TEXTS.items() if (any(map(can_run, COMMANDS[name])) or blocks(text, "python")) and name != CARD]


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_commands_are_understood(words):
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    context = command.make_context("somaseg", rest)
    assert not context.args


def answer_once(predict):
    """`Segmenter.predict`, which asks the network once for each image, weights and views: pages show the same images again and again."""
    known = {}

    def remembered(segmenter, image, zoom=1.0):
        about = segmenter.about
        key = (zoom, segmenter.sha256, str(about["model"]), str(about["tta"]), image.shape, image.tobytes())
        if key not in known:
            known[key] = predict(segmenter, image, zoom)
        return known[key]

    return remembered


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder for all pages, where the commands of the README have run, on small images."""
    folder = tmp_path_factory.mktemp("docs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them wait for each other on images as small as these
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(somaseg.Segmenter, "predict", answer_once(somaseg.Segmenter.predict))
        patch.setattr(synth_folder, "render", lambda settings, seed: render(settings.model_copy(update={"size": (208, 304)}), seed))
        patch.chdir(folder)
        Path("configs").symlink_to(ROOT / "configs")
        for name, seed in (("my-images/culture.png", 1), ("more-images/other.png", 2)):
            Path(name).parent.mkdir()
            iio.imwrite(name, render(SynthSettings(size=(104, 144)), seed=seed)[0])
        write_cultures(Path("my-annotations"), count=5, seed=2)
        done = []
        for words in [*COMMANDS["README.md"], ["predict", "my-images", "--out", "predictions"]]:
            run(words, done)
        yield folder, done
    torch.set_num_threads(threads)


def run(words, done):
    """Run a command that no page ran before."""
    if words not in done:
        code = app(words, standalone_mode=False)
        assert not code or words[:2] == ["data", "check"], words  # there 1 says that it found something
        done.append(words)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the default weights are not in the package yet")
@pytest.mark.parametrize("name", [name for name in RUN if name != "README.md"])
def test_commands_and_python_of_a_page_run(name, folder):
    for words in filter(can_run, COMMANDS[name]):
        run(words, folder[1])
    names = {"__name__": name}
    for code in blocks(TEXTS[name], "python"):
        exec(compile(code, name, "exec"), names)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in TEXTS for text in blocks(TEXTS[name], "yaml")])
def test_settings_files_of_a_page_can_be_read(name, text):
    given = yaml.safe_load(text)
    kind = Config if set(given) <= set(Config.model_fields) else SegmentSettings
    kind.model_validate(given)


def test_benchmarks_that_pages_run_know_the_options():
    lines = [words for text in TEXTS.values() for words in shell_lines(text) if any(word.startswith("benchmarks/") for word in words)]
    assert lines
    for words in lines:
        script = (ROOT / next(word for word in words if word.startswith("benchmarks/"))).read_text(encoding="utf-8")
        assert not [word for word in words if word.startswith("--") and f'"{word}"' not in script], words


def test_every_command_is_shown():
    root = typer.main.get_command(app)
    groups = {name: command.commands for name, command in root.commands.items() if hasattr(command, "commands")}
    names = {(name,) for name in root.commands if name not in groups} | {(name, own) for name, group in groups.items() for own in group}
    assert {words[:2] if words[0] in groups else words[:1] for words in SHOWN} == names


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_runs_the_commands_that_stand_beside_it():
    recipe = subprocess.run(["make", "--always-make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    made = [shlex.split(line)[1:] for line in recipe.splitlines() if re.match('"[^"]*/bin/somaseg"', line)]
    assert [words[0] for words in made] == ["synth", "segment"]
    assert all(words in COMMANDS["README.md"] for words in made)


def test_extras_that_pages_name_exist():
    extras = {
        name for text in TEXTS.values() for names in re.findall(r"pip install [^\n`]*\[([\w,]+)\]", text) for name in names.split(",")
    }
    assert extras
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("name", TEXTS)
def test_lines_of_prose_are_short(name):
    prose = re.sub(r"^( *)```.*?^\1```", lambda block: "\n" * block.group().count("\n"), TEXTS[name], flags=re.MULTILINE | re.DOTALL)
    lines = [(number, re.sub(r"\]\([^)]*\)", "]", line)) for number, line in enumerate(prose.splitlines(), start=1)]
    assert not [number for number, line in lines if len(line) > WIDTH and not line.lstrip().startswith("|")]


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) < 120


def test_every_public_name_is_on_the_api_page():
    assert set(re.findall(r"^\.\. auto\w+:: somaseg\.(\w+)(?:\(\))?$", TEXTS["docs/api.md"], re.MULTILINE)) == set(somaseg.__all__)


def test_every_setting_is_described():
    spec = importlib.util.spec_from_file_location("settings_tables", DOCS / "extensions" / "settings_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    models = list(tables.sections().values())
    for model in models:
        models += [inner for field in model.model_fields.values() for inner in tables.models_in(field) if inner not in models]
        described = tables.descriptions(model)
        assert not [name for name, text in described.items() if not text and name != "kind"], model
    assert len(models) > 20
    page = tables.settings_markdown()
    assert tables.MARK in TEXTS["docs/settings.md"]
    for name in ("postprocess.score_thresh", "train.optimizer.momentum", "model.heads.samples", "members.NAME.fold"):
        assert f"`{name}`" in page


@pytest.mark.parametrize(
    ("title", "record"),
    [
        ("Image as read", Frame),
        ("Prediction", somaseg.Prediction),
        ("Candidates", Candidates),
        ("Instances", somaseg.Instances),
        ("Sample", somaseg.Sample),
    ],
)
def test_fields_of_records_are_on_the_page_of_the_data(title, record):
    (section,) = re.findall(rf"^## {title}\n(.*?)^##", TEXTS["docs/data.md"], re.MULTILINE | re.DOTALL)
    first_columns = re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE)
    named = {name for column in first_columns for name in re.findall(r"`(\w+)`", column)}
    assert {field.name for field in dataclasses.fields(record)} <= named


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the default weights are not in the package yet")
def test_what_files_of_a_result_hold_is_on_their_page(folder):
    result, page = folder[0] / "demo" / "result", TEXTS["docs/results.md"]
    document = json.loads(next((result / "coco").glob("*.json")).read_text(encoding="utf-8"))
    named = set(re.findall(r"`(\w+)`", page))
    assert set((result / "cells.csv").read_text(encoding="utf-8").splitlines()[0].split(",")) <= named
    assert set(document["annotations"][0]) <= named
    assert set(json.loads((result / "run.json").read_text(encoding="utf-8"))) <= named
    files = {re.sub("(astro|cort|shsy5y)_1_000.", "NAME", path.relative_to(result).as_posix()) for path in result.rglob("*.*")}
    assert files <= set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))


def test_the_map_of_rooms_is_whole():
    source = ROOT / "src" / "somaseg"
    rooms: dict[str, set[str]] = {}
    for path in source.rglob("*.py"):
        if path.name != "__init__.py":
            rooms.setdefault(path.parent.relative_to(source).as_posix(), set()).add(path.stem)
    assert all(len(modules) <= 10 for modules in rooms.values())
    rows = re.findall(r"^\| `([\w./]+?)(/|\.py)` \| [^|]* \|(?: (.*) \|)?$", TEXTS["docs/architecture.md"], re.MULTILINE)
    assert {name for name, kind, _ in rows if kind == ".py"} == rooms.pop(".")
    assert {name: set(re.findall(r"`(\w+)`", modules)) for name, kind, modules in rows if kind == "/"} == rooms


def test_the_layers_are_those_of_the_contract():
    contract = next(c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert "\n".join(contract["layers"]) in TEXTS["docs/architecture.md"]


def test_tests_that_pages_name_are_there():
    named = {name for text in TEXTS.values() for name in re.findall(r"\btests/[a-z_/]+\.py\b", text)}
    assert named
    assert not [name for name in named if not (ROOT / name).is_file()]
