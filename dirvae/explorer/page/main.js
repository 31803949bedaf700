// The frame of the application: waiting for the model, the views and their tabs, the theme.

import { askJson, state } from "./api.js";
import { betweenView } from "./between.js";
import { compareView } from "./compare.js";
import { componentsView } from "./components.js";
import { h, notify, segmented } from "./dom.js";
import { exploreView } from "./explore.js";
import { mapView } from "./map.js";
import { steerView } from "./steer.js";
import { Thumbnails } from "./thumbnails.js";
import { uploadView } from "./upload.js";

const WAIT_MILLISECONDS = 100;
const VIEWS = [
  ["steer", "Steer", steerView],
  ["between", "Between", betweenView],
  ["components", "Components", componentsView],
  ["map", "Map", mapView],
  ["upload", "Your own", uploadView],
  ["explore", "Explore", exploreView],
];
const WHOLE_SET = ["components", "map"];
const THEMES = ["auto", "light", "dark"];
const find = (id) => document.getElementById(id);

const app = {
  about: [],
  thumbnails: [],
  run: 0,
  views: new Map(),

  // Steer an example or an upload of a run, in `steering` if it is given, else in the view "steer".
  start(run, start, steering = null, label = undefined) {
    if (steering) {
      steering.load(start, label);
      return;
    }
    if (run !== this.run) this.choose(run);
    this.view("steer").start(start, label);
    open("steer");
    find("content").focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
  },

  view(name) {
    const run = name === "compare" ? 0 : this.run;
    const place = `${name} ${run}`;
    if (!this.views.has(place)) {
      const make = name === "compare" ? compareView : VIEWS.find(([one]) => one === name)[2];
      const view = make(this, run);
      find(`panel-${name}`).append(view.element);
      this.views.set(place, view);
    }
    return this.views.get(place);
  },

  choose(run) {
    this.run = run;
    for (const input of document.querySelectorAll("#run-switch input")) input.checked = Number(input.value) === run;
    describe();
  },
};

function describe() {
  const about = app.about[app.run];
  const kinds = { image: "pictures", video: "videos", audio: "sounds" };
  find("run-name").textContent = about.name;
  const num = about.keys.length.toLocaleString("en");
  find("run-facts").textContent = `Step ${about.step.toLocaleString("en")} · ${num} ${kinds[about.kind]}`;
  document.title = `${about.name} · latents`;
}

function open(name) {
  for (const [other] of names()) {
    const isChosen = other === name;
    const tab = find(`tab-${other}`);
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    find(`panel-${other}`).hidden = !isChosen;
  }
  const [tabs, chosen] = [find("tabs"), find(`tab-${name}`)];
  tabs.scrollLeft = chosen.offsetLeft - tabs.offsetLeft - 16; // on narrow pages the tabs scroll sideways
  const view = app.view(name);
  for (const child of find(`panel-${name}`).children) child.hidden = child !== view.element;
  view.shown?.();
  app.current = name;
  history.replaceState(null, "", `#${name}`);
}

function names() {
  return app.about.length > 1 ? [...VIEWS, ["compare", "Side by side"]] : VIEWS;
}

function makeTabs() {
  const tabs = find("tabs");
  for (const [name, title] of names()) {
    const tab = h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, "aria-selected": "false" }, title);
    tab.addEventListener("click", () => open(name));
    tabs.append(tab);
    find("panels").append(h("section", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, hidden: true }));
  }
  tabs.addEventListener("keydown", (event) => {
    const all = [...tabs.children];
    const place = all.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = step ? (place + step + all.length) % all.length : { Home: 0, End: all.length - 1 }[event.key];
    if (place < 0 || next === undefined) return;
    event.preventDefault();
    all[next].focus();
    all[next].click();
  });
  tabs.hidden = false;
  if (app.about.length > 1) {
    const choices = app.about.map(({ label }, run) => [run, label]);
    const chosen = segmented("Model", choices, 0, (run) => {
      app.choose(run);
      open(app.current === "compare" ? "compare" : app.current);
    });
    find("run-switch").append(chosen);
    find("run-switch").hidden = false;
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  find("theme-name").textContent = { auto: "System", light: "Light", dark: "Dark" }[theme];
  find("theme").setAttribute("aria-label", `Colours: ${find("theme-name").textContent}. Change`);
  localStorage.setItem("dirvae-theme", theme);
}

async function waitForModel() {
  for (;;) {
    let told;
    try {
      told = await state();
    } catch (error) {
      return fail(error.message);
    }
    if (told.failure) return fail(told.failure);
    if (told.ready) return begin(told.whole);
    find("opening-stage").textContent = `${told.stage} …`;
    await new Promise((resolve) => setTimeout(resolve, WAIT_MILLISECONDS));
  }
}

function fail(sentence) {
  find("opening-title").textContent = "The model cannot be shown";
  find("opening-stage").textContent = sentence;
  find("opening-bar").hidden = true;
  find("opening").classList.add("has-failed");
}

async function begin(isWhole) {
  try {
    app.about = (await askJson("/api/about", {})).runs;
  } catch (error) {
    fail(error.message);
    return;
  }
  app.thumbnails = app.about.map((_, run) => new Thumbnails(run));
  makeTabs();
  describe();
  find("opening").hidden = true;
  find("panels").hidden = false;
  const wanted = location.hash.slice(1);
  open(names().some(([name]) => name === wanted) ? wanted : "steer");
  document.documentElement.dataset.ready = "true";
  if (isWhole) document.documentElement.dataset.whole = "true";
  else waitForRest();
}

// After the first examples, wait for all of them; then make the views that show the whole set again.
async function waitForRest() {
  try {
    let told = await state();
    while (!told.whole && !told.failure) {
      await new Promise((resolve) => setTimeout(resolve, WAIT_MILLISECONDS));
      told = await state();
    }
    if (told.failure) throw new Error(told.failure);
    const { runs } = await askJson("/api/about", {});
    runs.forEach((about, run) => Object.assign(app.about[run], about));
  } catch (error) {
    notify(error.message, true);
    return;
  }
  app.thumbnails = app.about.map((_, run) => new Thumbnails(run));
  const hadFocus = find(`panel-${app.current}`).contains(document.activeElement);
  for (const [place, view] of app.views) {
    if (!WHOLE_SET.includes(place.split(" ")[0])) continue;
    view.element.remove();
    app.views.delete(place);
  }
  describe();
  if (WHOLE_SET.includes(app.current)) {
    open(app.current);
    if (hadFocus) find(`tab-${app.current}`).focus();
  }
  document.documentElement.dataset.whole = "true";
}

setTheme(THEMES.includes(localStorage.getItem("dirvae-theme")) ? localStorage.getItem("dirvae-theme") : "auto");
find("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
});
history.replaceState(null, "", `/${location.hash}`); // the token is in a cookie now
waitForModel();
