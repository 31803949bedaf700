// Pictures, clips and sounds on canvases: raw pixels are painted without decoding.

import { h } from "./dom.js";

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const movingClips = new Set();
let isTicking = false;
let audio = null;
let playing = null;

// Paint one picture, bytes (height, width, 3), onto a canvas of the same size.
function paint(canvas, height, width, rgb, offset) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  if (canvas.pixels?.width !== width || canvas.pixels?.height !== height) {
    canvas.pixels = context.createImageData(width, height);
    canvas.pixels.data.fill(255);
  }
  const rgba = canvas.pixels.data;
  for (let from = offset, to = 0; to < rgba.length; from += 3, to += 4) {
    rgba[to] = rgb[from];
    rgba[to + 1] = rgb[from + 1];
    rgba[to + 2] = rgb[from + 2];
  }
  context.putImageData(canvas.pixels, 0, 0);
}

function tick(now) {
  let isAny = false;
  for (const clip of movingClips) {
    if (!clip.element.isConnected) movingClips.delete(clip);
    else {
      isAny = true;
      clip.showAt(now);
    }
  }
  isTicking = isAny;
  if (isAny) requestAnimationFrame(tick);
}

function stopSound() {
  if (!playing) return;
  playing.source.onended = null;
  playing.source.stop();
  playing.view.showStopped();
  playing = null;
}

// A picture, a clip that plays, or a spectrogram with its sound. `isSmall`: the only control is a play button.
export class MediaView {
  constructor(label, { isSmall = false, kind = null } = {}) {
    this.canvas = h("canvas", { role: "img", "aria-label": label, width: 64, height: 64 });
    this.cursor = h("span", { class: "play-cursor", hidden: true });
    this.frame = h("div", { class: kind === "audio" ? "media-frame is-sound" : "media-frame" }, this.canvas, this.cursor);
    this.controls = h("div", { class: "media-controls", hidden: true });
    this.element = h("div", { class: isSmall ? "media is-small" : "media" }, this.frame, this.controls);
    Object.assign(this, { label, isSmall, place: 0, started: null, current: null });
  }

  describe(label) {
    this.label = label;
    this.canvas.setAttribute("aria-label", label);
    this.button?.setAttribute("aria-label", `Play ${label}`);
  }

  // Show one item of an answer.
  show(answer, index = 0) {
    this.current = { answer, index };
    if (answer.kind === "image") this.paintItem(answer.arrays.pictures, index);
    else if (answer.kind === "video") this.showClip(answer, index);
    else this.showSound(answer, index);
  }

  paintItem({ shape, values }, index) {
    const [, height, width] = shape;
    paint(this.canvas, height, width, values, index * height * width * 3);
  }

  showClip(answer, index) {
    const [, frames] = answer.arrays.clips.shape;
    this.frames = frames;
    if (!this.isSmall && !this.slider) this.addClipControls();
    if (this.slider) this.slider.max = frames - 1;
    this.place = Math.min(this.place, frames - 1);
    this.paintFrame();
    if (!this.isPaused && !reducedMotion.matches && !movingClips.has(this)) this.play();
    else if (!movingClips.has(this)) this.showMoving(false);
  }

  paintFrame() {
    const { answer, index } = this.current;
    const [, frames, height, width] = answer.arrays.clips.shape;
    paint(this.canvas, height, width, answer.arrays.clips.values, (index * frames + this.place) * height * width * 3);
    if (this.slider) this.slider.value = this.place;
  }

  addClipControls() {
    this.slider = h("input", { type: "range", min: 0, step: 1, value: 0, "aria-label": `Frame of ${this.label}` });
    this.slider.addEventListener("input", () => {
      this.pause();
      this.place = Number(this.slider.value);
      this.paintFrame();
    });
    this.button = h("button", { type: "button", class: "quiet small" }, "Pause");
    this.button.addEventListener("click", () => (movingClips.has(this) ? this.pause() : this.play()));
    this.controls.append(this.button, this.slider);
    this.controls.hidden = false;
  }

  play() {
    this.isPaused = false;
    this.started = null;
    movingClips.add(this);
    this.showMoving(true);
    if (!isTicking) {
      isTicking = true;
      requestAnimationFrame(tick);
    }
  }

  pause() {
    this.isPaused = true;
    movingClips.delete(this);
    this.showMoving(false);
  }

  showMoving(isMoving) {
    if (!this.button || this.current.answer.kind !== "video") return;
    this.button.textContent = isMoving ? "Pause" : "Play";
    this.button.setAttribute("aria-label", `${isMoving ? "Pause" : "Play"} ${this.label}`);
  }

  // All clips move in step: the frame follows from the clock of the page.
  showAt(now) {
    const rate = this.current.answer.frames_per_second ?? 10;
    const place = Math.floor((now / 1000) * rate) % this.frames;
    if (place === this.place) return;
    this.place = place;
    this.paintFrame();
  }

  showSound(answer, index) {
    this.paintItem(answer.arrays.spectrograms, index);
    this.frame.classList.add("is-sound");
    if (this.button) return;
    this.button = h("button", { type: "button", class: "play" }, "Play");
    this.button.setAttribute("aria-label", `Play ${this.label}`);
    this.button.addEventListener("click", () => (playing?.view === this ? stopSound() : this.playSound()));
    this.controls.append(this.button);
    this.controls.hidden = false;
  }

  async playSound() {
    stopSound();
    const { answer, index } = this.current;
    const [, num] = answer.arrays.sounds.shape;
    audio ??= new AudioContext();
    await audio.resume();
    const buffer = audio.createBuffer(1, num, answer.sample_rate);
    buffer.copyToChannel(answer.arrays.sounds.values.subarray(index * num, (index + 1) * num), 0);
    const source = audio.createBufferSource();
    source.buffer = buffer;
    source.connect(audio.destination);
    source.onended = stopSound;
    source.start();
    playing = { source, view: this };
    this.button.textContent = "Stop";
    this.moveCursor(buffer.duration);
  }

  moveCursor(seconds) {
    if (reducedMotion.matches) return;
    this.cursor.hidden = false;
    this.cursor.animate([{ left: "0%" }, { left: "100%" }], { duration: seconds * 1000, easing: "linear" });
  }

  showStopped() {
    this.button.textContent = "Play";
    this.cursor.hidden = true;
  }
}
