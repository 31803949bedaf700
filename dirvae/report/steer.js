"use strict";
/* Sections that can be steered: two choosers of components, and a slider along the edge between the two. */
(function () {
  const rowOf = (first, second, count) => first * count - (first * (first + 1)) / 2 + (second - first - 1);

  /* The row and the column of the sheet that show `step` steps from one component to another. */
  function place(from, to, step, count, last) {
    if (from === to) return from === 0 ? [0, 0] : [rowOf(0, from, count), last];
    return from < to ? [rowOf(from, to, count), step] : [rowOf(to, from, count), last - step];
  }

  /* The player of a component alone, which is shown elsewhere on the page. */
  const alone = (number) => document.querySelector(`audio[data-component="${number}"]`);

  class Edge {
    constructor(root) {
      this.root = root;
      this.kept = {};
      this.frame = 0;
      this.moves = !matchMedia("(prefers-reduced-motion: reduce)").matches;
      root.addEventListener("input", () => {
        for (const name of ["from", "to"]) this.kept[name] = this.chosen(name).dataset.number;
        this.show();
      });
      root.addEventListener("click", (event) => {
        if (!event.target.matches(".motion")) return;
        this.moves = !this.moves;
        this.show();
      });
      this.show();
      this.tick();
    }

    number(name) {
      return Number(this.root.dataset[name]);
    }

    chosen(name) {
      return this.root.querySelector(`fieldset.${name} input:checked`) || this.root.querySelector(`fieldset.${name} input`);
    }

    /* Choose again what was chosen, where the page came anew with other components. */
    choose(name) {
      const same = this.root.querySelector(`fieldset.${name} input[data-number="${this.kept[name]}"]`);
      (same || this.chosen(name)).checked = true;
    }

    show() {
      this.root.querySelector(".controls").hidden = false;
      this.root.classList.add("steered");
      const button = this.root.querySelector(".motion");
      if (button) button.textContent = this.moves ? "Pause" : "Play";
      for (const name of ["from", "to"]) this.choose(name);
      const [from, to] = [this.chosen("from"), this.chosen("to")];
      const slider = this.root.querySelector("input[type=range]");
      const [step, last] = [Number(slider.value), this.number("steps") - 1];
      this.place = place(Number(from.value), Number(to.value), step, this.number("count"), last);
      const percent = Math.round((100 * step) / last);
      const [first, second] = [from.dataset.number, to.dataset.number];
      const words = first === second ? `${this.root.dataset.word} ${first} alone` : `${100 - percent} % of ${first}, ${percent} % of ${second}`;
      this.root.querySelector("output").textContent = words;
      slider.setAttribute("aria-valuetext", words);
      this.root.querySelector(".stage").setAttribute("aria-label", words);
      this.draw();
      const between = this.root.querySelector(`.edge audio[data-place="${this.place.join(",")}"]`);
      this.play(between || alone(2 * step < last ? first : second));
    }

    draw() {
      const [row, column] = this.place;
      const [width, height] = [this.number("width"), this.number("height")];
      const x = (column * this.number("frames") + this.frame) * width + 1;
      this.root.querySelector(".stage").setAttribute("viewBox", `${x} ${row * height + 1} ${width - 2} ${height - 2}`);
    }

    /* The player goes on where it is, with the sound of the new place. */
    play(sound) {
      const player = this.root.querySelector(".controls audio");
      if (!player || !sound || player.getAttribute("src") === sound.getAttribute("src")) return;
      const [time, wasPlaying] = [player.currentTime, !player.paused && !player.ended];
      player.src = sound.getAttribute("src");
      if (!wasPlaying) return;
      const goOn = () => {
        player.currentTime = Math.min(time, player.duration || 0);
        player.play().catch(() => {});
      };
      player.addEventListener("loadedmetadata", goOn, { once: true });
    }

    tick() {
      if (!this.root.isConnected) return;
      const frames = this.number("frames");
      if (frames > 1) setTimeout(() => this.tick(), this.number("pace"));
      if (frames < 2 || !this.moves || document.hidden) return;
      this.frame = (this.frame + 1) % frames;
      this.draw();
    }
  }

  const edges = new WeakMap();
  /* Make every section below `root` work; those that work already show again what they were set to. */
  window.steer = (root) => {
    for (const section of root.querySelectorAll("[data-steer]")) {
      const edge = edges.get(section);
      if (edge) edge.show();
      else edges.set(section, new Edge(section));
    }
  };
  window.steer(document);
})();
