"""The page in a browser without a screen: what its script makes of it, and how it looks."""

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from pages import parsed
from somaseg.report.report import make_report
from whole_results import cells, write_whole_result

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
HOSTILE = "a<img src=x onerror=document.title='taken'>&\"'<_script>"
CLASSES = ("round", "<b>long</b>")
MANY = 150  # images, more than are made at once

# What a person does, one thing after the other; the page's policy is taken out of the copy in which this runs.
ACTS = """<script>
const told = [], say = (name, value) => told.push(name + "=" + value);
const rows = () => [...document.querySelectorAll("table[data-table=images] tbody tr")];
const key = (name) => viewer.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
addEventListener("load", () => setTimeout(() => {
  say("rows", rows().length);
  document.querySelectorAll("table[data-table=images] th button")[1].click();
  say("most", rows()[0].children[1].textContent);
  byId("filter").value = "IMAGE 7";
  byId("filter").dispatchEvent(new Event("input"));
  setTimeout(() => {
    say("found", rows().length + " " + gallery.children.length + " " + byId("shown").textContent);
    gallery.children[0].click();
    setTimeout(() => {
      say("opened", viewer.open + " " + byId("viewer-name").textContent + " " + large.naturalWidth);
      const before = scale;
      key("+");
      say("larger", scale > before);
      stage.dispatchEvent(new WheelEvent("wheel", { deltaY: 500, clientX: 200, clientY: 200, cancelable: true }));
      say("smaller", scale < before);
      key("ArrowRight");
      say("next", byId("viewer-name").textContent);
      byId("to-row").click();
      say("row", viewer.open + " " + document.querySelector("tr.marked").children[0].textContent);
      const out = document.createElement("pre");
      out.id = "told";
      out.textContent = told.join("\\n");
      document.body.append(out);
    }, 500);
  }, 500);
}, 500));
</script>"""


def browse(page: Path, *words: str, place: str = "", size: str = "1280,900") -> str:
    """What the browser says of a page after some seconds of its time."""
    assert BROWSER is not None
    profile = page.parent / "profile"
    always = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=4000",
        f"--user-data-dir={profile}",
    )
    command = [BROWSER, *always, f"--window-size={size}", *words, page.resolve().as_uri() + place]
    ran = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return ran.stdout.decode()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = {f"image {number}": cells(CLASSES, number % 7, number % 3) for number in range(MANY)}
    images = {HOSTILE: cells(CLASSES, 2, 1), **images}
    folder = tmp_path_factory.mktemp("browser")
    result = write_whole_result(folder / "result", images, {f"{HOSTILE}.png": "is cut off"}, {HOSTILE: ["very <i>dark</i>"]})
    return make_report(result).file


def test_names_are_text_and_pictures_wait_until_they_are_looked_at(page: Path) -> None:
    dom = browse(page, "--dump-dom")
    assert "<title>taken" not in dom
    tags = parsed(dom).tags
    assert not [about for tag, about in tags if tag == "_script" or about.get("src") == "x" or any(name.startswith("on") for name in about)]
    names = [unescape(name) for name in re.findall(r'<span class="name">(.*?)</span>', dom)]
    assert names == [HOSTILE, *(f"image {number}" for number in range(MANY))]
    assert "2 round · 1 &lt;b&gt;long&lt;/b&gt;" in dom
    assert "very &lt;i&gt;dark&lt;/i&gt;" in dom
    pictures = [about.get("src") for tag, about in tags if tag == "img" and about.get("id") != "large"]
    assert len(pictures) == MANY + 1
    assert 4 <= len([source for source in pictures if source]) < 100
    assert 100 <= len(re.findall("<tr data-index", dom)) < MANY


def test_an_address_opens_an_image(page: Path) -> None:
    dom = browse(page, "--dump-dom", place=f"#image={quote(HOSTILE, safe='')}")
    assert re.search('<dialog id="viewer"[^>]* open=""', dom)
    (source,) = re.findall('<img id="large"[^>]* src="([^"]*)"', dom)
    assert source == f"overlays/{quote(HOSTILE)}_overlay.png"
    assert 'id="viewer-note"></p>' in dom


def test_without_its_overlays_beside_it_the_page_shows_thumbnails(page: Path, tmp_path: Path) -> None:
    alone = tmp_path / "report.html"
    shutil.copy(page, alone)
    dom = browse(alone, "--dump-dom", place="#image=image%201")
    assert re.search('<img id="large"[^>]* src="data:image/webp', dom)
    assert "does not lie beside this page" in dom


def test_it_sorts_filters_zooms_and_leads_from_image_to_row(page: Path) -> None:
    text = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8")).replace(
        "</body>", ACTS + "</body>"
    )
    driven = page.with_name("driven.html")
    driven.write_text(text, encoding="utf-8")
    (told,) = re.findall('<pre id="told">(.*?)</pre>', browse(driven, "--dump-dom"), re.DOTALL)
    said = dict(line.split("=", 1) for line in told.splitlines())
    hits = [number for number in range(MANY) if str(number).startswith("7")]
    first, second = sorted(hits, key=lambda number: -(number % 7 + number % 3))[:2]
    assert int(said["rows"]) < MANY
    assert said["most"] == "8"
    assert said["found"] == f"{len(hits)} {len(hits)} {len(hits)} of {MANY + 1} images"
    assert said["opened"] == f"true image {first} 600"
    assert (said["larger"], said["smaller"]) == ("true", "true")
    assert said["next"] == f"image {second}"
    assert said["row"] == f"false image {second}"


@pytest.mark.parametrize("dark", [False, True])
def test_it_looks_like_a_page(page: Path, tmp_path: Path, dark: bool) -> None:
    shot = tmp_path / "shot.png"
    browse(page, f"--screenshot={shot}", f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[:2] == (900, 1280)
    ground = pixels[-1, 1]
    assert (ground.mean() < 60) == dark
    assert (np.abs(pixels.astype(int) - ground).max(axis=2) > 60).mean() > 0.05  # there is something on it
    assert (np.abs(pixels.astype(int) - (0, 90, 120)).max(axis=2) < 8).sum() > 5000  # the first thumbnail
