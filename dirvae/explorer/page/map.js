// The map of the set: thumbnails at the places of the latents, without overlaps; zooming in shows more of them.

import { askArrays } from "./api.js";
import { h, notify, viewHead } from "./dom.js";
import { MediaView } from "./media.js";
import { followPointers } from "./pointers.js";
import { nearestTowards, withoutCollisions } from "./placing.js";

const GAP = 4;
const MOST_ZOOM = 60;
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function mapView(app, run) {
  const about = app.about[run];
  const tiles = new Map();
  const world = h("div", { class: "map-world", role: "group", "aria-label": "Map of the examples" });
  const said = h("p", { class: "muted", role: "status" });
  const preview = h("aside", { class: "card map-preview", "aria-live": "polite", "aria-label": "Chosen example" });
  preview.append(h("p", { class: "muted" }, "Choose a thumbnail to look at it."));
  let points = null;
  let zoom = 1;
  let centre = [0.5, 0.5];
  let chosen = [];
  let focused = null;
  let picked = null;
  let isWaiting = false;

  const side = () => (world.clientWidth < 600 ? 38 : 46);
  // Pixels per unit of the map, without the margin for thumbnails.
  const scale = () => [Math.max(50, world.clientWidth - side() - 2 * GAP) * zoom, Math.max(50, world.clientHeight - side() - 2 * GAP) * zoom];
  const screen = ([x, y]) => {
    const [across, down] = scale();
    return [world.clientWidth / 2 + (x - centre[0]) * across, world.clientHeight / 2 + (y - centre[1]) * down];
  };

  function arrange() {
    if (!points) return;
    const [across, down] = scale();
    chosen = withoutCollisions(points.map(([x, y]) => [x * across, y * down]), side() + GAP);
    draw();
  }

  function draw() {
    if (isWaiting || !points) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      const margin = side();
      const seen = new Set();
      for (const example of chosen) {
        const [x, y] = screen(points[example]);
        const isSeen = x > -margin && y > -margin && x < world.clientWidth + margin && y < world.clientHeight + margin;
        if (!isSeen) continue;
        seen.add(example);
        const tile = tiles.get(example) ?? addTile(example);
        tile.style.width = `${margin}px`;
        tile.style.transform = `translate(${(x - margin / 2).toFixed(1)}px, ${(y - margin / 2).toFixed(1)}px)`;
      }
      for (const [example, tile] of tiles) {
        if (seen.has(example) || document.activeElement === tile) continue;
        tile.remove();
        tiles.delete(example);
      }
      if (focused === null || !seen.has(focused)) focused = seen.values().next().value ?? null;
      for (const [example, tile] of tiles) tile.tabIndex = example === focused ? 0 : -1;
      const all = about.keys.length.toLocaleString("en");
      said.textContent = `${seen.size.toLocaleString("en")} of ${all} examples are shown; zoom in for more.`;
    });
  }

  function addTile(example) {
    const tile = h("button", { type: "button", class: "map-tile", "aria-label": about.keys[example], title: about.keys[example] });
    tile.append(app.thumbnails[run].canvas(example));
    tile.classList.toggle("is-chosen", example === picked);
    tile.addEventListener("click", () => choose(example));
    tile.addEventListener("focus", () => {
      focused = example;
    });
    tile.dataset.example = example;
    tiles.set(example, tile);
    world.append(tile);
    return tile;
  }

  async function choose(example) {
    picked = example;
    for (const [other, tile] of tiles) tile.classList.toggle("is-chosen", other === example);
    try {
      const answer = await askArrays("/api/original", { run, start: { example } });
      if (picked !== example) return;
      const view = new MediaView(about.keys[example]);
      view.show(answer);
      const steer = h("button", { type: "button", class: "primary" }, "Steer it");
      steer.addEventListener("click", () => app.start(run, { example }));
      preview.replaceChildren(h("h3", { class: "key" }, about.keys[example]), view.element, steer);
    } catch (error) {
      notify(error.message, true);
    }
  }

  function zoomBy(factor, at = [world.clientWidth / 2, world.clientHeight / 2]) {
    const before = zoom;
    zoom = Math.min(MOST_ZOOM, Math.max(1, zoom * factor));
    const [across, down] = scale();
    const share = 1 - before / zoom;
    centre[0] += ((at[0] - world.clientWidth / 2) / across) * (zoom / before) * share;
    centre[1] += ((at[1] - world.clientHeight / 2) / down) * (zoom / before) * share;
    keepInside();
    arrange();
  }

  function keepInside() {
    const half = 0.5 / zoom;
    centre = centre.map((value) => Math.min(1 - half, Math.max(half, value)));
  }

  function panBy(across, down) {
    const [wide, high] = scale();
    centre = [centre[0] - across / wide, centre[1] - down / high];
    keepInside();
    draw();
  }

  function fit() {
    zoom = 1;
    centre = [0.5, 0.5];
    arrange();
  }

  function focusOn(example) {
    focused = example;
    const [x, y] = screen(points[example]);
    const margin = side();
    const over = (value, length) => (value < margin ? margin - value : value > length - margin ? length - margin - value : 0);
    panBy(over(x, world.clientWidth), over(y, world.clientHeight));
    (tiles.get(example) ?? addTile(example)).focus({ preventScroll: true });
    draw();
  }

  world.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in DIRECTIONS && focused !== null) {
      const places = chosen.filter((example) => example !== focused).map((example) => [example, screen(points[example])]);
      const next = nearestTowards(DIRECTIONS[event.key], screen(points[focused]), places);
      if (next !== null) focusOn(next);
    } else if (event.key === "+" || event.key === "=") zoomBy(1.5);
    else if (event.key === "-") zoomBy(1 / 1.5);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  followPointers(world, zoomBy, panBy);
  new ResizeObserver(arrange).observe(world);

  const button = (text, label, act) => {
    const made = h("button", { type: "button", class: "quiet", "aria-label": label, title: label }, text);
    made.addEventListener("click", act);
    return made;
  };
  const tools = h(
    "div",
    { class: "tools map-tools" },
    button("+", "Zoom in", () => zoomBy(1.5)),
    button("−", "Zoom out", () => zoomBy(1 / 1.5)),
    button("Fit", "Show all", fit),
    said,
  );
  const element = h(
    "div",
    { class: "view" },
    viewHead("Map", "Examples near each other have similar latents. Drag or scroll, or use the arrow keys, + and −."),
    h("div", { class: "map" }, h("div", { class: "card map-card" }, world, tools), preview),
  );

  async function shown() {
    if (points) {
      arrange();
      return;
    }
    try {
      const { values } = (await askArrays("/api/map", { run })).arrays.points;
      points = about.keys.map((_, example) => [values[2 * example], values[2 * example + 1]]);
      arrange();
    } catch (error) {
      notify(error.message, true);
    }
  }
  return { element, shown };
}
