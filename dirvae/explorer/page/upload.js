// Uploads: a file is encoded and shown beside its reconstruction, and can then be steered.

import { askArrays, upload } from "./api.js";
import { h, viewHead } from "./dom.js";
import { exportButtons } from "./exporting.js";
import { MediaView } from "./media.js";

const MOST_BYTES = 32 * 2 ** 20;
const WHAT = {
  image: ["a picture", "image/*"],
  video: ["a video", "video/*"],
  audio: ["a recording", "audio/*"],
};

export function uploadView(app, run) {
  const [what, accept] = WHAT[app.about[run].kind];
  const input = h("input", { type: "file", id: `file-${run}`, class: "sr", accept });
  const drop = h("label", { class: "drop", for: input.id });
  drop.append(
    h("span", { class: "drop-mark", "aria-hidden": "true" }, "↑"),
    h("span", { class: "drop-words" }, `Choose ${what}, or drop it here`),
    h("span", { class: "muted" }, "Up to 32 MiB. It stays on this machine."),
  );
  const problem = h("p", { class: "problem", role: "alert" });
  const result = h("div", { class: "card upload-result", hidden: true });

  async function take(file) {
    problem.textContent = "";
    if (file.size > MOST_BYTES) {
      problem.textContent = `${file.name} is larger than 32 MiB, the most that this server reads.`;
      return;
    }
    drop.classList.add("is-busy");
    try {
      const original = await upload(file);
      if (!original.runs.includes(run)) throw new Error(`${file.name} cannot be encoded by this model.`);
      const start = { upload: original.upload };
      const latent = await askArrays("/api/latent", { run, start });
      const values = Array.from(latent.arrays.latent.values);
      const decoded = await askArrays("/api/decode", { run, latent: values, start });
      show(original, decoded, start);
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      drop.classList.remove("is-busy");
      input.value = "";
    }
  }

  function show(original, decoded, start) {
    const views = [new MediaView(`your file ${original.label}`), new MediaView("its reconstruction")];
    views[0].show(original);
    views[1].show(decoded);
    const steer = h("button", { type: "button", class: "primary" }, "Steer it");
    steer.addEventListener("click", () => app.start(run, start, null, original.label));
    const figure = (view, caption) => h("figure", {}, view.element, h("figcaption", {}, caption));
    result.replaceChildren(
      h("h3", { class: "key" }, original.label),
      h("div", { class: "pair" }, figure(views[0], "As the model sees it"), figure(views[1], "Its reconstruction")),
      h("div", { class: "tools" }, steer, ...exportButtons(decoded)),
    );
    result.hidden = false;
  }

  input.addEventListener("change", () => input.files[0] && take(input.files[0]));
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("is-over");
    });
  }
  for (const name of ["dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.remove("is-over");
    });
  }
  drop.addEventListener("drop", (event) => event.dataTransfer.files[0] && take(event.dataTransfer.files[0]));
  const element = h(
    "div",
    { class: "view" },
    viewHead("Your own", "What the model makes of a file that it has never seen."),
    h("div", { class: "drop-frame" }, input, drop),
    problem,
    result,
  );
  return { element };
}
