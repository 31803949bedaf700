// Buttons that save the shown media; the server makes the files from the same pixels and samples.

import { askBlob } from "./api.js";
import { h, notify } from "./dom.js";

export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A button for each file format of an answer.
export function exportButtons(answer) {
  return answer.formats.map((format) => {
    const button = h("button", { type: "button", class: "quiet small", "data-format": format });
    button.append(h("span", { "aria-hidden": "true" }, "↓ "), h("span", { class: "sr" }, "Save as "), format.toUpperCase());
    button.addEventListener("click", async () => {
      try {
        const { blob, name } = await askBlob("/api/export", { shown: answer.shown, format });
        save(blob, name);
      } catch (error) {
        notify(error.message, true);
      }
    });
    return button;
  });
}
