"use strict";
/* Sections that can be steered: two choosers of components, and a slider along the edge between the two. */
(function () {
  const rowOf = (first, second, count) => first * count - (first * (first + 1)) / 2 + (second - first - 1);

  /* The row and the column of the sheet that show `step` steps from one component to another. */
  function place(from, to, step, count, last) {
    if (from === to) return from === 0 ? [0, 0] : [rowOf(0, from, count), last];
    return from < to ? [rowOf(from, to, count), step] : [rowOf(to, from, count), last - step];
  }

  const alone = (number) => document.querySelector(`audio[data-component="${number}"]`);

  class Edge {
    constructor(root) {
      this.root = root;
      const number = (name) => Number(root.dataset[name]);
      [this.count, this.last, this.frames] = [number("count"), number("steps") - 1, number("frames")];
      [this.width, this.height, this.pace] = [number("width"), number("height"), number("pace")];
      this.frame = 0;
      this.moves = !matchMedia("(prefers-reduced-motion: reduce)").matches;
      root.addEventListener("input", () => this.show());
      const button = root.querySelector(".motion");
      if (button) button.addEventListener("click", () => this.pause(!this.moves));
      root.querySelector(".controls").hidden = false;
      root.classList.add("steered");
      if (button) this.pause(this.moves);
      if (this.frames > 1) setInterval(() => this.tick(), this.pace);
      this.show();
    }

    chosen(name) {
      const found = [...this.root.querySelectorAll(`fieldset.${name} input`)].find((input) => input.checked);
      return Number(found ? found.value : 0);
    }

    show() {
      const [from, to] = [this.chosen("from"), this.chosen("to")];
      const slider = this.root.querySelector("input[type=range]");
      const step = Number(slider.value);
      const [row, column] = place(from, to, step, this.count, this.last);
      const number = (name) => this.root.querySelector(`fieldset.${name} input:checked`).dataset.number;
      const percent = Math.round((100 * step) / this.last);
      const words = from === to ? `${this.root.dataset.word} ${number("from")} alone` : `${100 - percent} % of ${number("from")}, ${percent} % of ${number("to")}`;
      this.root.querySelector("output").textContent = words;
      slider.setAttribute("aria-valuetext", words);
      this.place = [row, column];
      this.draw();
      this.play(this.root.querySelector(`.edge audio[data-place="${row},${column}"]`) || alone(number(step < this.last / 2 ? "from" : "to")));
      this.root.querySelector(".stage").setAttribute("aria-label", words);
    }

    draw() {
      const [row, column] = this.place;
      const x = (column * this.frames + this.frame) * this.width + 1;
      this.root.querySelector(".stage").setAttribute("viewBox", `${x} ${row * this.height + 1} ${this.width - 2} ${this.height - 2}`);
    }

    /* The player goes on where it is, with the sound of the new place. */
    play(sound) {
      const player = this.root.querySelector(".controls audio");
      if (!player || !sound || player.dataset.place === String(this.place)) return;
      const [time, wasPlaying] = [player.currentTime, !player.paused && !player.ended];
      player.dataset.place = String(this.place);
      player.src = sound.src;
      if (!wasPlaying) return;
      player.addEventListener("loadedmetadata", () => {
        player.currentTime = Math.min(time, player.duration);
        player.play().catch(() => {});
      }, { once: true });
    }

    tick() {
      if (!this.moves || document.hidden || !this.root.isConnected) return;
      this.frame = (this.frame + 1) % this.frames;
      this.draw();
    }

    pause(moves) {
      this.moves = moves;
      const button = this.root.querySelector(".motion");
      if (button) button.textContent = moves ? "Pause" : "Play";
    }
  }

  const edges = new WeakMap();
  /* Make every section below `root` work, and show again what those that work already were set to. */
  window.steer = (root) => {
    for (const section of root.querySelectorAll("[data-steer]")) {
      const edge = edges.get(section);
      if (edge) edge.show();
      else edges.set(section, new Edge(section));
    }
  };
  window.steer(document);
})();
