// The components: the use of each one, its decoded archetype, and the examples with most of it.

import { askArrays } from "./api.js";
import { componentColour, h, notify, viewHead } from "./dom.js";
import { exportButtons } from "./exporting.js";
import { MediaView } from "./media.js";

export function componentsView(app, run) {
  const about = app.about[run];
  const { usage } = about;
  const amounts = about.on_simplex ? usage.means : usage.spread;
  const most = Math.max(...amounts, 1e-12);
  const detail = h("section", { class: "card component-detail", "aria-live": "polite" });
  const buttons = new Map();

  function card(component) {
    const bar = h("span", { class: "use-bar", "aria-hidden": "true" }, h("span", {}));
    bar.firstChild.style.width = `${(100 * amounts[component]) / most}%`;
    bar.firstChild.style.background = componentColour(component);
    const amount = amounts[component].toFixed(3);
    const isUsed = usage.in_use[component];
    const button = h("button", { type: "button", class: "component-card", "aria-pressed": "false" });
    button.append(
      app.thumbnails[run].canvas(about.top[component]),
      h("span", { class: "component-name" }, `Component ${component}`),
      h("span", { class: "component-amount" }, isUsed ? amount : `${amount}, not in use`),
      bar,
    );
    button.addEventListener("click", () => show(component));
    buttons.set(component, button);
    return button;
  }

  async function show(component) {
    for (const [other, button] of buttons) button.setAttribute("aria-pressed", String(other === component));
    try {
      const found = await askArrays("/api/component", { run, component });
      if (buttons.get(component).getAttribute("aria-pressed") !== "true") return;
      const head = h("h3", {}, `Component ${component}`);
      const parts = [head];
      if (found.shown !== undefined) {
        const view = new MediaView(`component ${component} alone`);
        view.show(found);
        parts.push(h("figure", {}, view.element, h("figcaption", {}, "Alone: its archetype")), exportRow(found));
      }
      parts.push(h("h4", {}, "Examples with most of it"), exemplars(found, component));
      detail.replaceChildren(...parts);
    } catch (error) {
      notify(error.message, true);
    }
  }

  function exportRow(found) {
    return h("div", { class: "exports" }, ...exportButtons(found));
  }

  function exemplars(found, component) {
    const list = h("div", { class: "exemplars" });
    found.exemplars.forEach((example, place) => {
      const amount = found.amounts[place].toFixed(2);
      const name = `${about.keys[example]}: ${amount} of component ${component}`;
      const button = h("button", { type: "button", class: "tile", title: name, "aria-label": `Steer ${name}` });
      button.append(app.thumbnails[run].canvas(example), h("span", { class: "tile-key" }, amount));
      button.addEventListener("click", () => app.start(run, { example }));
      list.append(button);
    });
    return list;
  }

  const num = usage.in_use.filter(Boolean).length;
  const effective = usage.effective === null ? "" : `, as many as ${usage.effective.toFixed(1)} used alike`;
  const said = `${num} of ${about.model_size} components are in use${effective}. Each card shows the example with most of it.`;
  const element = h(
    "div",
    { class: "view" },
    viewHead("Components", said),
    h("div", { class: "components" }, h("div", { class: "component-grid" }, usage.order.map(card)), detail),
  );
  return { element, shown: () => detail.childNodes.length || show(usage.order[0]) };
}
