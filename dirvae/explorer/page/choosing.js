// A dialog to choose an example of the set, by its picture or by its key.

import { h } from "./dom.js";

const PER_STEP = 96;

// Resolves with the number of the example, or null if the dialog was closed.
export function chooseExample(app, run, title) {
  const dialog = document.getElementById("chooser");
  const { keys } = app.about[run];
  const search = h("input", { type: "search", id: "chooser-search", autocomplete: "off", placeholder: "Part of a key" });
  const grid = h("div", { class: "chooser-grid" });
  const said = h("p", { class: "muted", role: "status" });
  const more = h("button", { type: "button", class: "quiet" }, "Show more");
  const close = h("button", { type: "button", class: "quiet" }, "Close");
  let shown = 0;
  let found = [];
  return new Promise((resolve) => {
    let chosen = null;
    const add = () => {
      for (const example of found.slice(shown, shown + PER_STEP)) {
        const button = h("button", { type: "button", class: "tile", title: keys[example] });
        button.append(app.thumbnails[run].canvas(example), h("span", { class: "tile-key" }, keys[example]));
        button.addEventListener("click", () => {
          chosen = example;
          dialog.close();
        });
        grid.append(button);
      }
      shown = Math.min(found.length, shown + PER_STEP);
      more.hidden = shown >= found.length;
      said.textContent = `${found.length.toLocaleString("en")} of ${keys.length.toLocaleString("en")} examples`;
    };
    const refresh = () => {
      const part = search.value.trim().toLowerCase();
      found = keys.map((key, example) => [key, example]).filter(([key]) => key.toLowerCase().includes(part));
      found = found.map(([, example]) => example);
      shown = 0;
      grid.replaceChildren();
      add();
    };
    search.addEventListener("input", refresh);
    more.addEventListener("click", add);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => resolve(chosen), { once: true });
    dialog.replaceChildren(
      h("div", { class: "chooser-head" }, h("h2", { id: "chooser-title" }, title), close),
      h("div", { class: "chooser-tools" }, h("label", { for: "chooser-search" }, "Search"), search, said),
      grid,
      h("div", { class: "chooser-foot" }, more),
    );
    refresh();
    dialog.showModal();
    search.focus();
  });
}

// A button that shows the chosen example and opens the dialog; `changed` is called with its number.
export class ExampleButton {
  constructor(app, run, label, example, changed) {
    Object.assign(this, { app, run, label, changed });
    this.canvas = h("canvas", { width: 64, height: 64, class: "thumbnail", "aria-hidden": "true" });
    this.key = h("span", { class: "example-key" });
    this.element = h("button", { type: "button", class: "example-button" }, this.canvas);
    this.element.append(h("span", { class: "example-words" }, h("span", { class: "example-label" }, label), this.key));
    this.element.addEventListener("click", () => this.choose());
    this.set(example);
  }

  set(example) {
    this.example = example;
    this.key.textContent = this.app.about[this.run].keys[example];
    this.app.thumbnails[this.run].draw(this.canvas, example);
  }

  async choose() {
    const example = await chooseExample(this.app, this.run, `Choose: ${this.label}`);
    if (example === null) return;
    this.set(example);
    this.changed(example);
  }
}
