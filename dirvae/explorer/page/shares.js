// The sliders of a latent: one row for each component, grouped where there are many, and a bar of all shares.

import { componentColour, freshId, h, segmented } from "./dom.js";

const FEW = 14;
const FIRST = 12;

export class Sliders {
  // `model`: { title, size, onSimplex, least, most, usage, top }; `thumbnail(component)` → a canvas or null;
  // `moved(component, value, isEnd)` is called while a slider moves and when it is released.
  constructor(model, thumbnail, moved) {
    Object.assign(this, { model, thumbnail, moved, order: "share", showsAll: model.size <= FEW, rows: new Map() });
    this.bar = model.onSimplex ? h("div", { class: "share-bar", "aria-hidden": "true" }) : null;
    this.list = h("div", { class: "slider-list" });
    this.all = h("button", { type: "button", class: "quiet", "aria-expanded": String(this.showsAll) });
    this.all.addEventListener("click", () => {
      this.showsAll = !this.showsAll;
      this.arrange();
    });
    this.all.hidden = model.size <= FEW;
    this.isWhole = !model.onSimplex;
    const reach = h("input", { type: "checkbox", id: freshId("reach") });
    reach.addEventListener("change", () => {
      this.isWhole = reach.checked;
      this.arrange();
    });
    const reachWords = h("label", { for: reach.id }, "Sliders reach the whole simplex, not only what examples have");
    this.reach = model.onSimplex ? h("p", { class: "check muted" }, reach, reachWords) : null;
    const orders = [["share", model.onSimplex ? "Share" : "Size"], ["use", "Use"], ["number", "Number"]];
    const sort = segmented("Order of the components", orders, this.order, (order) => {
      this.order = order;
      this.arrange();
    });
    const head = h("div", { class: "sliders-head" }, h("h3", {}, "Components"), sort);
    this.element = h("section", { class: "sliders", "aria-label": model.title }, head, this.bar, this.list, this.all, this.reach ?? "");
    if (this.bar) for (let k = 0; k < model.size; k += 1) this.addPart(k);
    this.values = new Float64Array(model.size);
  }

  addPart(component) {
    const part = h("span", {});
    part.style.background = componentColour(component);
    this.bar.append(part);
  }

  row(component) {
    if (!this.rows.has(component)) this.rows.set(component, this.makeRow(component));
    return this.rows.get(component);
  }

  makeRow(component) {
    const { onSimplex, least, most } = this.model;
    const [low, high] = onSimplex ? [0, 1] : [least[component], most[component]];
    const margin = onSimplex ? 0 : Math.max(1e-3, (high - low) / 2);
    const limits = { min: (low - margin).toFixed(3), max: (high + margin).toFixed(3) };
    const name = `Component ${component}`;
    const range = h("input", { type: "range", ...limits, step: onSimplex ? 0.005 : 0.01, "aria-label": name });
    const number = h("input", { type: "number", ...limits, step: 0.01, "aria-label": `${name}, number` });
    range.style.setProperty("--colour", componentColour(component));
    range.addEventListener("input", () => this.moved(component, Number(range.value), false));
    range.addEventListener("change", () => this.moved(component, Number(range.value), true));
    number.addEventListener("change", () => {
      const value = Number(number.value);
      if (number.value !== "" && Number.isFinite(value)) {
        this.moved(component, onSimplex ? Math.min(1, Math.max(0, value)) : value, true);
      }
      number.value = this.values[component].toFixed(3);
    });
    const label = h("span", { class: "slider-name", "aria-hidden": "true" }, String(component));
    const element = h("div", { class: "slider" }, this.thumbnail(component), label, range, number);
    element.dataset.component = component;
    return { element, range, number };
  }

  // Show new values (size); with `isSettled` sort the rows again.
  show(values, isSettled = true) {
    this.values = values;
    if (isSettled) this.arrange();
    else for (const component of this.visible) this.refreshRow(component);
    if (!this.bar) return;
    this.bar.childNodes.forEach((part, component) => {
      part.style.flexGrow = values[component];
    });
  }

  refreshRow(component) {
    const { range, number } = this.row(component);
    const value = this.values[component];
    if (this.model.onSimplex) this.setReach(range, component, value);
    range.value = value;
    range.setAttribute("aria-valuetext", value.toFixed(3));
    const span = Number(range.max) - Number(range.min);
    range.style.setProperty("--filled", `${(100 * (Number(range.value) - Number(range.min))) / span}%`);
    if (document.activeElement !== number || number.value === "") number.value = value.toFixed(3);
  }

  // On the simplex a slider ends at 1, or at twice the share that few examples exceed, but never below its value.
  setReach(range, component, value) {
    const seen = Math.ceil(20 * Math.min(0.5, this.model.most[component])) / 10;
    const most = this.isWhole ? 1 : Math.max(seen, 0.1);
    const wanted = value > most ? 1 : most;
    if (wanted < Number(range.max) && document.activeElement === range && value > wanted) return;
    range.max = wanted;
    range.step = wanted / 200;
  }

  arrange() {
    const { size, usage, onSimplex } = this.model;
    let order = Array.from({ length: size }, (_, component) => component);
    if (this.order === "use") order = usage.order.slice();
    else if (this.order === "share") {
      const amount = (k) => (onSimplex ? this.values[k] : Math.abs(this.values[k] - usage.means[k]));
      order.sort((a, b) => amount(b) - amount(a) || a - b);
    }
    const focused = document.activeElement?.closest?.(".slider");
    const kept = focused && this.list.contains(focused) ? Number(focused.dataset.component) : null;
    this.visible = this.showsAll ? order : order.slice(0, FIRST);
    if (kept !== null && !this.visible.includes(kept)) this.visible.push(kept);
    for (const component of this.visible) this.refreshRow(component);
    const wanted = this.visible.map((component) => this.row(component).element);
    const isSame = wanted.length === this.list.children.length && wanted.every((e, k) => this.list.children[k] === e);
    if (!isSame && kept === null) this.list.replaceChildren(...wanted);
    else if (!isSame) this.addMissing(wanted);
    this.all.textContent = this.showsAll ? `Show the first ${FIRST}` : `Show all ${size}`;
    this.all.setAttribute("aria-expanded", String(this.showsAll));
  }

  // While a slider has the focus, rows are only added and removed, not moved.
  addMissing(wanted) {
    for (const row of [...this.list.children]) if (!wanted.includes(row)) row.remove();
    for (const row of wanted) if (!this.list.contains(row)) this.list.append(row);
  }
}
