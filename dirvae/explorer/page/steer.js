// Steering a latent: sliders, undo and redo, and the decoded latent beside the original.

import { askArrays } from "./api.js";
import { ExampleButton, chooseExample } from "./choosing.js";
import { h, notify, viewHead } from "./dom.js";
import { exportButtons } from "./exporting.js";
import { History } from "./history.js";
import { MediaView } from "./media.js";
import { Newest } from "./newest.js";
import { Sliders } from "./shares.js";
import { meanShare, moveMeanShare, moveValue, rememberedProportions } from "./simplex.js";

let lanes = 0;
const page = Math.random().toString(36).slice(2);

export class Steering {
  // `shared(component, value, isEnd)` is called for each move of a slider here, but not for calls of `move`.
  constructor(app, run, { shared = () => {}, hasChooser = true } = {}) {
    Object.assign(this, { app, run, shared, about: app.about[run], history: new History(), before: null });
    lanes += 1;
    this.lane = `${page}-${lanes}`;
    this.cells = this.about.grid.reduce((product, length) => product * length, 1);
    this.original = new MediaView("the original", { kind: this.about.kind });
    this.steered = new MediaView("the steered result", { kind: this.about.kind });
    this.newest = new Newest(
      (wish, sequence) => askArrays("/api/decode", { run, ...wish, lane: this.lane, sequence }),
      (answer) => this.paint(answer),
      (error) => notify(error.message, true),
    );
    this.sliders = new Sliders(this.model(), (k) => this.componentThumbnail(k), (k, value, isEnd) => {
      this.move(k, value, isEnd);
      shared(k, value, isEnd);
    });
    this.exports = h("div", { class: "exports" });
    this.element = h("div", { class: "steer" }, this.stage(hasChooser), this.sliders.element);
  }

  model() {
    const { model_size: size, on_simplex: onSimplex, least, most, usage, label } = this.about;
    return { title: `Components of ${label}`, size, onSimplex, least, most, usage };
  }

  componentThumbnail(component) {
    const canvas = this.app.thumbnails[this.run].canvas(this.about.top[component]);
    canvas.title = `The example with the most of component ${component}`;
    return canvas;
  }

  stage(hasChooser) {
    const button = (text, act, key) => {
      const made = h("button", { type: "button", class: "quiet", "aria-keyshortcuts": key }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.undoButton = button("Undo", () => this.undo(), "Control+Z");
    this.redoButton = button("Redo", () => this.redo(), "Control+Shift+Z");
    this.resetButton = button("Reset", () => this.reset());
    this.random = button("Random example", () => this.app.start(this.run, { example: this.anyExample() }, this));
    this.startButton = hasChooser
      ? new ExampleButton(this.app, this.run, "Starts at", this.about.typical, (example) => this.load({ example }))
      : null;
    this.isPlaying = h("input", { type: "checkbox", id: `plays-${this.lane}` });
    const isSound = this.about.kind === "audio";
    const plays = isSound
      ? h("p", { class: "check" }, this.isPlaying, h("label", { for: this.isPlaying.id }, "Play after each change"))
      : null;
    const tools = h("div", { class: "tools" }, this.undoButton, this.redoButton, this.resetButton);
    if (hasChooser) tools.append(this.random);
    tools.append(this.exports);
    this.context = this.about.context_name ? this.contextButton() : null;
    const starts = h("div", { class: "starts" }, this.startButton?.element ?? null, this.context);
    const figures = h(
      "div",
      { class: "pair" },
      h("figure", {}, this.original.element, h("figcaption", {}, "Original")),
      h("figure", { class: "is-main" }, this.steered.element, h("figcaption", {}, "Steered")),
    );
    return h("div", { class: "stage card" }, starts, figures, tools, plays);
  }

  contextButton() {
    const { context_name: name } = this.about;
    const what = `${name.charAt(0).toUpperCase()}${name.slice(1)} of`;
    this.contextWords = h("span", { class: "example-key" }, "the example itself");
    const label = h("span", { class: "example-label" }, what);
    const button = h("button", { type: "button", class: "example-button is-plain" });
    button.append(h("span", { class: "example-words" }, label, this.contextWords));
    button.addEventListener("click", async () => {
      const example = await chooseExample(this.app, this.run, what);
      if (example === null) return;
      this.contextStart = { example };
      this.contextWords.textContent = this.about.keys[example];
      this.decode();
    });
    return button;
  }

  anyExample() {
    return Math.floor(Math.random() * this.about.keys.length);
  }

  // Start from the latent of `{ example }` or `{ upload }`, unchanged.
  async load(start, label) {
    this.start = start;
    this.contextStart = start;
    if (start.example !== undefined) this.startButton?.set(start.example);
    try {
      const [latent, original] = await Promise.all([
        askArrays("/api/latent", { run: this.run, start }),
        askArrays("/api/original", { run: this.run, start }),
      ]);
      if (this.start !== start) return;
      this.original.show(original);
      this.original.describe(`the original, ${label ?? latent.label}`);
      this.first = Float64Array.from(latent.arrays.latent.values);
      this.history.clear();
      if (this.contextWords) this.contextWords.textContent = "the example itself";
      this.set(this.first.slice());
    } catch (error) {
      notify(error.message, true);
    }
  }

  // Set values that do not come from a slider.
  set(values, isNewMemory = true) {
    this.values = values;
    if (isNewMemory || !this.memory) this.memory = rememberedProportions(values);
    this.refresh(true);
    this.decode();
  }

  move(component, value, isEnd) {
    if (!this.values) return;
    this.before ??= this.values.slice();
    if (this.about.on_simplex) moveMeanShare(this.values, this.memory, this.cells, component, value);
    else moveValue(this.values, this.cells, component, value);
    if (isEnd) {
      if (this.before.some((old, place) => old !== this.values[place])) this.history.record(this.before);
      this.before = null;
    }
    this.refresh(isEnd);
    this.decode();
  }

  decode() {
    this.newest.wish({ latent: Array.from(this.values), start: this.contextStart });
  }

  paint(answer) {
    this.steered.show(answer);
    this.exports.replaceChildren(...exportButtons(answer));
    if (this.isPlaying.checked && !this.newest.waiting && !this.before) this.steered.playSound();
    const detail = { sequence: answer.sequence, lane: this.lane };
    this.steered.canvas.dispatchEvent(new CustomEvent("painted", { bubbles: true, detail }));
  }

  refresh(isSettled) {
    const means = new Float64Array(this.about.model_size);
    for (let k = 0; k < means.length; k += 1) means[k] = meanShare(this.values, this.cells, k);
    this.sliders.show(means, isSettled);
    this.undoButton.disabled = !this.history.canUndo;
    this.redoButton.disabled = !this.history.canRedo;
    this.resetButton.disabled = !this.first || this.values.every((value, place) => value === this.first[place]);
  }

  undo() {
    const values = this.history.undo(this.values);
    if (values) this.set(values, false);
  }

  redo() {
    const values = this.history.redo(this.values);
    if (values) this.set(values, false);
  }

  reset() {
    this.history.record(this.values);
    this.set(this.first.slice());
  }

  // Keys of the view: undo and redo, except in text and number fields.
  key(event) {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    if (event.target.matches?.("input[type=number], input[type=search]")) return;
    event.preventDefault();
    if (event.shiftKey) this.redo();
    else this.undo();
  }
}

export function steerView(app, run) {
  const steering = new Steering(app, run);
  const about = app.about[run];
  const rule = about.on_simplex
    ? "Move a component: the others keep their proportions, and all shares sum to 1."
    : "Move a component: the others stay as they are.";
  const element = h("div", { class: "view" }, viewHead("Steer", rule));
  element.append(steering.element);
  element.addEventListener("keydown", (event) => steering.key(event));
  steering.load({ example: about.typical });
  return { element, start: (start, label) => steering.load(start, label), steering };
}
