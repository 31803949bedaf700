// Elements made by script. Text becomes text nodes, so that a key or a file name is never markup.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// The head of a view: its title, and a sentence on what it shows.
export function viewHead(title, sentence) {
  return h("header", { class: "view-head" }, h("h2", {}, title), h("p", {}, sentence));
}

let lastId = 0;

// A unique id for an element that a label or a description refers to.
export function freshId(stem) {
  lastId += 1;
  return `${stem}-${lastId}`;
}

// Show a sentence at the foot of the page for some seconds; screen readers announce it.
export function notify(sentence, isError = false) {
  const notice = document.getElementById("notice");
  notice.textContent = sentence;
  notice.classList.toggle("is-error", isError);
  notice.classList.add("is-shown");
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => notice.classList.remove("is-shown"), isError ? 9000 : 4000);
}

// One of several choices as a row of buttons; `changed` is called with the value that was chosen.
export function segmented(label, choices, chosen, changed) {
  const name = freshId("choice");
  const group = h("fieldset", { class: "segmented" }, h("legend", { class: "sr" }, label));
  for (const [value, text] of choices) {
    const input = h("input", { type: "radio", name, value, id: freshId(name), checked: value === chosen });
    input.addEventListener("change", () => changed(value));
    group.append(input, h("label", { for: input.id }, text));
  }
  return group;
}

// The colour of a component: hues far apart for neighbouring numbers, equally light.
export function componentColour(component) {
  return `oklch(0.66 0.135 ${(35 + component * 137.508) % 360})`;
}
