// Two examples and everything between them, in three geometries.

import { askArrays } from "./api.js";
import { ExampleButton } from "./choosing.js";
import { h, notify, segmented, viewHead } from "./dom.js";
import { exportButtons } from "./exporting.js";
import { MediaView } from "./media.js";
import { Newest } from "./newest.js";
import { sheetGrid } from "./sheets.js";

const SWEEP_SECONDS = 4;
const GEOMETRIES = {
  latent: "A straight line in the latent space.",
  concentration: "A straight line in the concentrations of the posteriors, normalised: the path stays near the sharper end for longer.",
  aitchison: "The geodesic of Aitchison's geometry: a straight line in log-ratios.",
};

export function betweenView(app, run) {
  const about = app.about[run];
  const lane = `between-${Math.random().toString(36).slice(2)}`;
  const ends = [about.typical, about.top[about.usage.order[0]]];
  if (ends[0] === ends[1]) ends[1] = (ends[0] + 1) % about.keys.length;
  let kind = "latent";
  let contextEnd = 0;
  let path = null;
  let asked = 0;

  const middle = new MediaView("the mixture", { kind: about.kind });
  const views = ["the first example", "the second example"].map((label) => new MediaView(label, { kind: about.kind }));
  const slider = h("input", { type: "range", min: 0, max: 64, step: 1, value: 32, id: `${lane}-place` });
  const share = h("output", { for: slider.id, class: "number" }, "50%");
  const sweep = h("button", { type: "button", class: "quiet" }, "Sweep");
  const said = h("p", { class: "muted", role: "status" });
  const strip = h("div", { class: "strip" });
  const exports = h("div", { class: "exports" });
  const newest = new Newest(
    (wish, sequence) => askArrays("/api/decode", { run, ...wish, lane, sequence }),
    (answer) => {
      middle.show(answer);
      exports.replaceChildren(...exportButtons(answer));
      middle.canvas.dispatchEvent(new CustomEvent("painted", { bubbles: true, detail: { sequence: answer.sequence } }));
    },
    (error) => notify(error.message, true),
  );

  function decode() {
    if (!path) return;
    const place = Number(slider.value);
    const [num] = path.shape;
    const size = path.values.length / num;
    share.textContent = `${Math.round((100 * place) / (num - 1))}%`;
    slider.setAttribute("aria-valuetext", `${share.textContent} of the way`);
    slider.style.setProperty("--filled", `${(100 * place) / (num - 1)}%`);
    const latent = Array.from(path.values.subarray(place * size, (place + 1) * size));
    newest.wish({ latent, start: { example: ends[contextEnd] } });
  }

  async function refresh() {
    asked += 1;
    const mine = asked;
    const [start, end] = ends.map((example) => ({ example }));
    try {
      const [found, first, second] = await Promise.all([
        askArrays("/api/path", { run, start, end, kind }),
        askArrays("/api/original", { run, start }),
        askArrays("/api/original", { run, start: end }),
      ]);
      if (mine !== asked) return;
      path = found.arrays.latents;
      views[0].show(first);
      views[1].show(second);
      const clamped = found.clamped
        ? ` ${found.clamped} shares of the ends were below ${found.smallest} and raised to it.`
        : "";
      said.textContent = GEOMETRIES[kind] + clamped;
      decode();
      const values = { keys: ends.map((example) => about.keys[example]), kind, num: 9 };
      const sheet = await askArrays("/api/explore", { run, name: "interpolate", values });
      if (mine === asked) strip.replaceChildren(sheetGrid(app, run, sheet), ...exportButtons(sheet));
    } catch (error) {
      if (mine === asked) notify(error.message, true);
    }
  }

  let sweeping = null;
  function stopSweep() {
    cancelAnimationFrame(sweeping);
    sweeping = null;
    sweep.textContent = "Sweep";
  }
  sweep.addEventListener("click", () => {
    if (sweeping !== null) {
      stopSweep();
      return;
    }
    sweep.textContent = "Stop";
    const began = performance.now();
    const step = (now) => {
      const turn = ((now - began) / 1000 / SWEEP_SECONDS) % 2;
      slider.value = Math.round(64 * (turn < 1 ? turn : 2 - turn));
      decode();
      sweeping = element.isConnected && element.offsetParent ? requestAnimationFrame(step) : null;
      if (sweeping === null) stopSweep();
    };
    sweeping = requestAnimationFrame(step);
  });
  slider.addEventListener("input", () => {
    if (sweeping !== null) stopSweep();
    decode();
  });

  const pickers = ["From", "To"].map(
    (label, end) =>
      new ExampleButton(app, run, label, ends[end], (example) => {
        ends[end] = example;
        refresh();
      }),
  );
  const swap = h("button", { type: "button", class: "quiet" }, "Swap");
  swap.addEventListener("click", () => {
    ends.reverse();
    pickers.forEach((picker, end) => picker.set(ends[end]));
    refresh();
  });
  const kinds = [["latent", "Straight"]];
  if (about.has_concentrations) kinds.push(["concentration", "Concentrations"]);
  if (about.on_simplex) kinds.push(["aitchison", "Aitchison"]);
  const geometry = segmented("Geometry of the path", kinds, kind, (chosen) => {
    kind = chosen;
    refresh();
  });
  const { context_name: name } = about;
  const context = name
    ? segmented(`${name} of`, [[0, `With the ${name} of the first`], [1, "of the second"]], 0, (end) => {
        contextEnd = end;
        decode();
      })
    : null;
  const figure = (view, caption, isMain) =>
    h("figure", { class: isMain ? "is-main" : null }, view.element, h("figcaption", {}, caption));
  const element = h(
    "div",
    { class: "view" },
    viewHead("Between", "Two examples, and everything between them."),
    h(
      "div",
      { class: "card" },
      h("div", { class: "starts" }, pickers[0].element, swap, pickers[1].element, geometry, context ?? ""),
      h("div", { class: "trio" }, figure(views[0], "From"), figure(middle, "Between", true), figure(views[1], "To")),
      h("div", { class: "between-slider" }, h("label", { for: slider.id }, "Way"), slider, share, sweep),
      said,
      exports,
    ),
    h("section", { class: "card", "aria-label": "Steps of the path" }, h("h3", {}, "In nine steps"), strip),
  );
  return { element, shown: refresh };
}
