"use strict";
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const byId = (id) => document.getElementById(id);
const data = read("data"), pictures = read("pictures");
const images = data.images, facts = data.tables.images;
const at = Object.fromEntries(facts.columns.map((name, i) => [name, i]));

function make(tag, kind, text) {  // names come as text, never as markup
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text !== undefined) element.textContent = text;
  return element;
}

function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return value;
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4 ? value.toExponential(3) : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

function ordered(rows, column, down) {  // empty cells last, either way
  return rows.slice().sort((a, b) => {
    const [x, y] = [a[column], b[column]];
    if (x === null || y === null) return (x === null) - (y === null);
    return down ? compare(y, x) : compare(x, y);
  });
}

// Pictures are decoded when they come near the screen and let go of when they are far away.
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !target.src) target.src = target.data();
    else if (!isIntersecting && target.src) target.removeAttribute("src");
  }
}, { rootMargin: "600px" });

function lazyPicture(source, name) {
  const picture = make("img");
  picture.alt = name;
  picture.data = source;
  near.observe(picture);
  return picture;
}

const small = (i) => pictures.images[i] && "data:image/webp;base64," + pictures.images[i];

// Tables: rows are made a hundred at a time, as they are scrolled to.
class Table {
  constructor(element) {
    this.element = element;
    this.name = element.dataset.table;
    this.given = data.tables[this.name];
    this.rows = this.given.rows.map((row, i) => Object.assign(row.slice(), { index: i }));
    this.visible = this.rows;
    this.all = false;
    this.sort = { column: null, down: false };
    this.text = this.given.columns.map((_, i) => this.rows.some((row) => typeof row[i] === "string"));
    this.end = make("div");
    element.after(this.end);
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.extend(), { root: element.parentElement, rootMargin: "400px" })
      .observe(this.end);
    this.draw();
  }

  draw() {
    const more = new Set(this.given.more);
    this.columns = this.given.columns.map((_, i) => i).filter((i) => this.all || !more.has(this.given.columns[i]));
    const head = make("tr");
    for (const i of this.columns) {
      const cell = make("th", this.text[i] ? "text" : ""), button = make("button", "", this.given.columns[i]);
      cell.scope = "col";
      button.type = "button";
      if (this.sort.column === i) cell.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      button.addEventListener("click", () => this.sortBy(i, this.sort.column === i ? !this.sort.down : !this.text[i]));
      cell.append(button);
      head.append(cell);
    }
    const top = make("thead");
    top.append(head);
    this.body = make("tbody");
    this.element.replaceChildren(top, this.body);
    this.made = 0;
    this.extend();
  }

  sortBy(column, down) {
    this.sort = { column, down };
    if (this.name === "images") update();
    else { this.visible = ordered(this.rows, column, down); this.draw(); }
  }

  extend(least = 0) {
    const end = Math.min(this.visible.length, Math.max(this.made + 100, least));
    for (; this.made < end; this.made++) this.body.append(this.row(this.visible[this.made]));
  }

  row(cells) {
    const row = make("tr");
    row.dataset.index = cells.index;
    for (const i of this.columns) {
      const cell = make("td", this.text[i] ? "text" : "");
      if (this.name === "images" && i === at.image) {
        const link = make("a", "", cells[i]);
        link.href = address(cells.index);
        cell.append(link);
      } else cell.textContent = shown(cells[i]);
      row.append(cell);
    }
    return row;
  }

  show(index) {
    const place = this.visible.findIndex((row) => row.index === index);
    if (place < 0) return;
    this.extend(place + 1);
    for (const row of this.body.querySelectorAll(".marked")) row.classList.remove("marked");
    const row = this.body.children[place];
    row.classList.add("marked");
    row.scrollIntoView({ block: "center" });
  }
}

const address = (i) => "#image=" + encodeURIComponent(images[i].name);

// Gallery
const gallery = byId("gallery"), order = byId("order");
const cards = images.map((image, i) => {
  const card = make("button", "card"), row = facts.rows[i], frame = make("span", "picture");
  card.type = "button";
  card.dataset.index = i;
  frame.append(pictures.images[i] ? lazyPicture(() => small(i), image.name) : "no overlay");
  card.append(frame, make("span", "name", image.name), make("span", "about", about(row)));
  if (row[at.warnings]) card.append(make("span", "about bad", row[at.warnings]));
  card.addEventListener("click", () => { location.hash = address(i); });
  return card;
});

function about(row) {
  const parts = [`${shown(row[at.cells])} cell${row[at.cells] === 1 ? "" : "s"}`];
  for (const name of data.classes) if (row[at[`cells_${name}`]]) parts.push(`${shown(row[at[`cells_${name}`]])} ${name}`);
  if (typeof row[at.confluence_percent] === "number") parts.push(`${shown(row[at.confluence_percent])} % covered`);
  return parts.join(" · ");
}

const tables = Object.fromEntries([...document.querySelectorAll("table[data-table]")].map((element) => [element.dataset.table, new Table(element)]));
const main = tables.images;

function update() {  // gallery and table show the same images in the same order
  const part = byId("filter").value.trim().toLowerCase(), warned = byId("warned").checked;
  let rows = main.rows.filter((row) => row[at.image].toLowerCase().includes(part) && (!warned || row[at.warnings]));
  if (main.sort.column !== null) rows = ordered(rows, main.sort.column, main.sort.down);
  main.visible = rows;
  main.draw();
  gallery.replaceChildren(...rows.map((row) => cards[row.index]));
  byId("shown").textContent = rows.length === images.length ? `${shown(images.length)} images` : `${shown(rows.length)} of ${shown(images.length)} images`;
  const chosen = main.sort.column === null ? "" : `${main.sort.column} ${main.sort.down ? 1 : 0}`;
  order.value = [...order.options].some((option) => option.value === chosen) ? chosen : "";
}

order.append(new Option("as in the run", ""));
facts.columns.forEach((name, i) => {
  if (facts.more.includes(name)) return;
  const text = main.text[i];
  order.append(new Option(`${name} ↑`, `${i} 0`));
  if (!text) order.append(new Option(`${name} ↓`, `${i} 1`));
});
order.addEventListener("change", () => {
  const [column, down] = order.value.split(" ");
  main.sort = order.value ? { column: Number(column), down: down === "1" } : { column: null, down: false };
  update();
});
let waiting = 0;
byId("filter").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(update, 120); });
byId("filter").form.addEventListener("submit", (event) => event.preventDefault());
byId("warned").addEventListener("change", update);
for (const box of document.querySelectorAll("input.all")) {
  const table = tables[box.dataset.table];
  if (!table.given.more.length) box.parentElement.hidden = true, box.parentElement.style.display = "none";
  box.addEventListener("change", () => { table.all = box.checked; table.draw(); });
}
update();

data.plates.forEach((plate, i) => {
  const figure = make("figure"), source = () => "data:image/png;base64," + pictures.plates[i], picture = lazyPicture(source, plate.name);
  figure.append(picture, make("figcaption", "faint", plate.name));
  picture.addEventListener("click", () => view({ name: plate.name, facts: "", source: source() }));
  byId("plate-pictures").append(figure);
});

// Viewer: the wheel or two fingers zoom about the pointer, dragging moves.
const viewer = byId("viewer"), stage = byId("stage"), large = byId("large");
let scale = 1, x = 0, y = 0, current = null;
const place = () => { large.style.transform = `translate(${x}px, ${y}px) scale(${scale})`; large.style.imageRendering = scale > 3 ? "pixelated" : "auto"; };

function fit() {
  if (!large.naturalWidth) return;
  scale = Math.min(stage.clientWidth / large.naturalWidth, stage.clientHeight / large.naturalHeight);
  x = (stage.clientWidth - large.naturalWidth * scale) / 2;
  y = (stage.clientHeight - large.naturalHeight * scale) / 2;
  place();
}

function zoom(factor, px = stage.clientWidth / 2, py = stage.clientHeight / 2) {
  const next = Math.min(40, Math.max(0.02, scale * factor));
  x = px - (px - x) * next / scale;
  y = py - (py - y) * next / scale;
  scale = next;
  place();
}

function view({ name, facts: text, source, instead = "", note = "" }) {
  byId("viewer-name").textContent = name;
  byId("viewer-facts").textContent = text;
  byId("viewer-note").textContent = note;
  large.alt = name;
  large.onload = fit;
  large.onerror = () => {
    large.onerror = null;
    byId("viewer-note").textContent = "The overlay does not lie beside this page; this is its thumbnail.";
    if (instead) large.src = instead;
  };
  large.removeAttribute("src");
  if (source) large.src = source;
  if (!viewer.open) viewer.showModal();
}

function viewImage(i) {
  current = i;
  const note = images[i].link ? "" : "There is no overlay of this image.";
  view({ name: images[i].name, facts: about(facts.rows[i]), source: images[i].link, instead: small(i), note });
}

function step(by) {
  if (current === null) return;
  const shownNow = main.visible.map((row) => row.index), here = shownNow.indexOf(current);
  const next = shownNow[(here + by + shownNow.length) % shownNow.length];
  if (next !== undefined) history.replaceState(null, "", address(next)), viewImage(next);
}

function follow() {
  const found = /^#image=(.*)$/.exec(location.hash);
  if (!found) return viewer.open && current !== null ? viewer.close() : undefined;
  let name = found[1];
  try { name = decodeURIComponent(name); } catch { /* as it stands */ }
  const i = images.findIndex((image) => image.name === name);
  if (i >= 0) viewImage(i);
}

viewer.addEventListener("close", () => {
  if (current !== null) history.replaceState(null, "", location.href.split("#")[0]);
  current = null;
  large.removeAttribute("src");
});
byId("close").addEventListener("click", () => viewer.close());
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("smaller").addEventListener("click", () => zoom(1 / 1.4));
byId("larger").addEventListener("click", () => zoom(1.4));
byId("fit").addEventListener("click", fit);
byId("to-row").addEventListener("click", () => { const i = current; viewer.close(); if (i !== null) main.show(i); });
viewer.addEventListener("keydown", (event) => {
  const acts = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: fit };
  if (acts[event.key] && !event.ctrlKey && !event.metaKey) event.preventDefault(), acts[event.key]();
});
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015)), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
const fingers = new Map();
stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); fingers.set(event.pointerId, event); });
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
stage.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
  if (other) {
    const box = stage.getBoundingClientRect(), away = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
    zoom(away(event) / Math.max(1, away(before)), other.clientX - box.left, other.clientY - box.top);
  } else {
    x += event.clientX - before.clientX;
    y += event.clientY - before.clientY;
    place();
  }
  fingers.set(event.pointerId, event);
});
addEventListener("resize", () => viewer.open && fit());
addEventListener("hashchange", follow);
follow();
