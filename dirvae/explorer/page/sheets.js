// Sheets and charts of explorations: labelled cells in rows, and SVG.

import { h } from "./dom.js";
import { MediaView } from "./media.js";

// A table of media. Cells that are examples of the set have a button to steer them.
export function sheetGrid(app, run, sheet) {
  const { columns } = sheet;
  const num = (sheet.arrays.pictures ?? sheet.arrays.clips ?? sheet.arrays.sounds).shape[0];
  const rows = Math.ceil(num / columns);
  const table = h("table", { class: "sheet" });
  if (sheet.column_labels.length) {
    const head = h("tr", {}, sheet.row_labels.length ? h("td", {}) : null);
    for (const label of sheet.column_labels) head.append(h("th", { scope: "col" }, label));
    table.append(h("thead", {}, head));
  }
  const body = h("tbody", {});
  for (let row = 0; row < rows; row += 1) {
    const line = h("tr", {});
    if (sheet.row_labels.length) line.append(h("th", { scope: "row" }, sheet.row_labels[row]));
    for (let column = 0; column < columns && row * columns + column < num; column += 1) {
      line.append(cell(app, run, sheet, row * columns + column));
    }
    body.append(line);
  }
  table.append(body);
  return h("div", { class: "sheet-scroll", tabindex: 0, role: "region", "aria-label": "Sheet" }, table);
}

function cell(app, run, sheet, place) {
  const example = sheet.examples?.[place];
  const label = sheet.cell_labels[place] ?? "";
  const column = sheet.column_labels[place % sheet.columns] ?? "";
  const key = example === undefined ? "" : app.about[run].keys[example];
  const view = new MediaView([key, label, column].filter(Boolean).join(", ") || `cell ${place}`, { isSmall: true });
  view.show(sheet, place);
  const content = [view.element];
  if (label) content.push(h("span", { class: "cell-label" }, label));
  if (example !== undefined) {
    const take = h("button", { type: "button", class: "quiet small", "aria-label": `Steer ${key}` }, "Steer");
    take.addEventListener("click", () => app.start(run, { example }));
    content.push(take);
  }
  return h("td", {}, ...content);
}

const NAMESPACE = "http://www.w3.org/2000/svg";
const TAGS = new Set(["svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan"]);
for (const tag of ["defs", "clipPath", "use", "title", "desc"]) TAGS.add(tag);
const LINKS = new Set(["href", "xlink:href"]);

// A chart as elements of this page: only shapes and text are copied. Styles are set by script, because the content
// security policy of the page refuses style attributes.
export function chartElement(source, label) {
  const harmless = source.replace(/<style[\s\S]*?<\/style>/g, "").replace(/\sstyle="/g, ' data-style="');
  const parsed = new DOMParser().parseFromString(harmless, "image/svg+xml");
  const svg = copied(parsed.documentElement);
  if (!svg) return h("p", {}, "The chart could not be read.");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return h("div", { class: "chart" }, svg);
}

function copied(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (node.nodeType !== Node.ELEMENT_NODE || !TAGS.has(node.localName)) return null;
  const element = document.createElementNS(NAMESPACE, node.localName);
  for (const { name, value } of node.attributes) {
    if (name === "data-style") element.style.cssText = value;
    else if (LINKS.has(name) ? value.startsWith("#") : /^[a-z][\w-]*$/i.test(name) && !name.startsWith("on")) {
      element.setAttribute(name === "xlink:href" ? "href" : name, value);
    }
  }
  for (const child of node.childNodes) {
    const made = copied(child);
    if (made) element.append(made);
  }
  return element;
}
