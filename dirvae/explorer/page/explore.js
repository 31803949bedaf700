// All explorations of the table, each with a form made from its parameters.

import { askArrays } from "./api.js";
import { chooseExample } from "./choosing.js";
import { freshId, h, viewHead } from "./dom.js";
import { exportButtons } from "./exporting.js";
import { chartElement, sheetGrid } from "./sheets.js";

// A field for one parameter: { element, read() → value or null for the default }.
function field(app, run, parameter) {
  const id = freshId("field");
  const label = h("label", { for: id }, parameter.name.replaceAll("_", " "));
  const help = h("p", { class: "muted field-help", id: `${id}-help` }, sentence(parameter.help));
  const common = { id, "aria-describedby": `${id}-help` };
  const input = inputOf(parameter, common);
  const parts = [label, input];
  if (parameter.kind === "key" || parameter.kind === "keys") parts.push(pickButton(app, run, parameter, input));
  return { element: h("div", { class: "field" }, ...parts, help), read: () => read(parameter, input.value.trim()) };
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function inputOf(parameter, common) {
  const { kind, choices, least, most } = parameter;
  const initial = parameter.default === null ? "" : [].concat(parameter.default).join(", ");
  if (kind === "choice") {
    const select = h("select", common);
    for (const choice of choices) select.append(h("option", { value: choice }, choice));
    select.value = initial;
    return select;
  }
  if (kind === "count") {
    return h("input", { ...common, type: "number", min: least ?? 0, max: most, step: 1, value: initial });
  }
  if (kind === "keys") return h("textarea", { ...common, rows: 3, placeholder: "One key on each line" });
  return h("input", { ...common, type: "text", value: initial, placeholder: placeholder(kind), autocomplete: "off" });
}

function placeholder(kind) {
  return { components: "0, 3, 7", weights: "1, 1, -1" }[kind] ?? "";
}

function pickButton(app, run, parameter, input) {
  const button = h("button", { type: "button", class: "quiet small" }, parameter.kind === "keys" ? "Add an example" : "Choose");
  button.setAttribute("aria-label", `${button.textContent}: ${parameter.name}`);
  button.addEventListener("click", async () => {
    const example = await chooseExample(app, run, "Choose an example");
    if (example === null) return;
    const key = app.about[run].keys[example];
    const before = input.value.trim();
    input.value = parameter.kind === "keys" && before ? `${before}\n${key}` : key;
  });
  return button;
}

function read(parameter, text) {
  if (text === "") return null;
  if (parameter.kind === "keys") return text.split("\n").map((key) => key.trim()).filter(Boolean);
  if (parameter.kind === "components" || parameter.kind === "weights") return text.split(/[\s,;]+/).filter(Boolean).map(Number);
  return parameter.kind === "count" ? Number(text) : text;
}

export function exploreView(app, run) {
  const { explorations } = app.about[run];
  const form = h("form", { class: "card explore-form" });
  const result = h("div", { class: "explore-result", "aria-live": "polite" });
  const choices = h("div", { class: "explore-choices", role: "group", "aria-label": "Explorations" });
  let asked = 0;

  function open(exploration, isAsked) {
    for (const button of choices.children) {
      button.setAttribute("aria-pressed", String(button.dataset.name === exploration.name));
    }
    const fields = exploration.parameters.map((parameter) => [parameter, field(app, run, parameter)]);
    const go = h("button", { type: "submit", class: "primary" }, "Show");
    form.replaceChildren(
      h("h3", {}, exploration.title),
      h("p", { class: "muted" }, exploration.summary),
      h("div", { class: "fields" }, ...fields.map(([, { element }]) => element)),
      go,
    );
    const show = () => {
      const values = Object.fromEntries(fields.map(([{ name }, { read: value }]) => [name, value()]));
      return ask(exploration, values);
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      show();
    };
    if (isAsked) show();
  }

  async function ask(exploration, values) {
    asked += 1;
    const mine = asked;
    result.classList.add("is-busy");
    try {
      const answer = await askArrays("/api/explore", { run, name: exploration.name, values });
      if (mine !== asked) return;
      const shown = answer.svg
        ? chartElement(answer.svg, exploration.title)
        : sheetGrid(app, run, answer);
      const exports = h("div", { class: "exports" }, ...exportButtons(answer));
      result.replaceChildren(h("div", { class: "card" }, h("p", { class: "caption" }, answer.caption), shown, exports));
    } catch (error) {
      if (mine === asked) result.replaceChildren(h("p", { class: "problem", role: "alert" }, error.message));
    } finally {
      if (mine === asked) result.classList.remove("is-busy");
    }
  }

  for (const exploration of explorations) {
    const button = h("button", { type: "button", class: "explore-choice", "data-name": exploration.name, "aria-pressed": "false" });
    button.append(exploration.title);
    button.addEventListener("click", () => open(exploration, true));
    choices.append(button);
  }
  const element = h(
    "div",
    { class: "view" },
    viewHead("Explore", "Sheets and charts of the latent space. Empty fields have defaults."),
    choices,
    h("div", { class: "explore" }, form, result),
  );
  let isFirst = true;
  return {
    element,
    shown: () => {
      if (isFirst) open(explorations[0], true);
      isFirst = false;
    },
  };
}
