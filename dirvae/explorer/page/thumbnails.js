// Thumbnails of the examples: sprites of 64 pictures, fetched once and drawn onto small canvases.

import { askBlob } from "./api.js";
import { h } from "./dom.js";

export const SIDE = 64;
const PER_PAGE = 64;
const COLUMNS = 8;

export class Thumbnails {
  constructor(run) {
    this.run = run;
    this.pages = new Map();
  }

  page(number) {
    if (!this.pages.has(number)) {
      const asked = askBlob("/api/thumbnails", { run: this.run, page: number });
      this.pages.set(number, asked.then(({ blob }) => createImageBitmap(blob)));
    }
    return this.pages.get(number);
  }

  // A canvas of one example, painted when its sprite has arrived.
  canvas(example) {
    const canvas = h("canvas", { width: SIDE, height: SIDE, class: "thumbnail", "aria-hidden": "true" });
    this.draw(canvas, example);
    return canvas;
  }

  async draw(canvas, example) {
    canvas.example = example;
    const sprite = await this.page(Math.floor(example / PER_PAGE)).catch(() => null);
    if (!sprite || canvas.example !== example) return;
    const place = example % PER_PAGE;
    const [left, top] = [(place % COLUMNS) * SIDE, Math.floor(place / COLUMNS) * SIDE];
    canvas.getContext("2d").drawImage(sprite, left, top, SIDE, SIDE, 0, 0, SIDE, SIDE);
  }
}
