// Two models side by side: the same example through both, and sliders that can move together.

import { ExampleButton } from "./choosing.js";
import { h, notify, viewHead } from "./dom.js";
import { Steering } from "./steer.js";

export function compareView(app) {
  const [first, second] = app.about;
  const canLink = first.model_size === second.model_size && first.on_simplex === second.on_simplex;
  const link = h("input", { type: "checkbox", id: "compare-link", checked: canLink, disabled: !canLink });
  const panes = app.about.map(
    (_, run) =>
      new Steering(app, run, {
        hasChooser: false,
        shared: (component, value, isEnd) => {
          if (link.checked) panes[1 - run].move(component, value, isEnd);
        },
      }),
  );

  function load(example) {
    const key = first.keys[example];
    panes[0].load({ example });
    const other = second.keys.indexOf(key);
    if (other === -1) notify(`${second.label} has not read an example ${key}.`, true);
    else panes[1].load({ example: other });
  }

  const chooser = new ExampleButton(app, 0, "The same example in both", first.typical, load);
  const linkWords = canLink
    ? "Move both together"
    : "The two cannot be moved together: their latents differ in size or kind";
  const pane = (steering, about) =>
    h("section", { class: "compare-pane", "aria-label": about.label }, h("h3", { class: "key" }, `${about.label}, step ${about.step.toLocaleString("en")}`), steering.element);
  const element = h(
    "div",
    { class: "view" },
    viewHead("Side by side", "One example, encoded and decoded by two models."),
    h(
      "div",
      { class: "starts" },
      chooser.element,
      h("p", { class: "check" }, link, h("label", { for: link.id }, linkWords)),
    ),
    h("div", { class: "compare" }, pane(panes[0], first), pane(panes[1], second)),
  );
  let isFirst = true;
  return {
    element,
    shown: () => {
      if (isFirst) load(first.typical);
      isFirst = false;
    },
  };
}
