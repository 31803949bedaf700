"use strict";
/* Shows a run's report and updates it: only nodes that differ are replaced, so that sliders and sounds go on. */
(function () {
  const NEXT_MS = 2000, HIDDEN_MS = 10000, LOST_MS = 4000, PATIENCE_MS = 5000;
  const PHASES = {
    preparing: "Preparing",
    training: "Training",
    ended: "The training has ended",
    stopped: "The training was stopped",
    failed: "The training failed",
  };
  const page = document.querySelector("#page");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [sheet];
  let [shown, phase, timer] = [null, "preparing", 0];

  const isOver = () => ["ended", "stopped", "failed"].includes(phase);
  const isPlaying = (audio) => !audio.paused && !audio.ended;
  const keyOf = (node) => (node.querySelector && node.querySelector(":scope > h2, :scope > h1") || {}).textContent || node.nodeName;

  /* A picture is replaced after the new one is decoded, so that the page never blinks. */
  function setPicture(node, name, uri) {
    const next = new Image();
    const set = () => { if (next.uri === node.wanted) node.setAttribute(name, uri); };
    next.uri = node.wanted = uri;
    next.src = uri;
    next.decode().then(set, set);
  }

  function morphAttributes(before, after) {
    for (const { name } of [...before.attributes]) if (!after.hasAttribute(name)) before.removeAttribute(name);
    for (const { name, value } of after.attributes) {
      if (before.getAttribute(name) === value) continue;
      const isPicture = (before.nodeName === "IMG" && name === "src") || (before.nodeName === "image" && name === "href");
      if (isPicture) setPicture(before, name, value);
      else before.setAttribute(name, value);
    }
  }

  function morph(before, after) {
    if (before.isEqualNode(after)) return;
    if (before.nodeName !== after.nodeName) return void before.replaceWith(document.importNode(after, true));
    if (before.nodeType !== Node.ELEMENT_NODE) return void (before.data = after.data);
    if (before.nodeName === "AUDIO" && (isPlaying(before) || before.closest(".controls"))) return;
    morphAttributes(before, after);
    morphChildren(before, after);
  }

  /* Old and new children are matched by place, or by heading if their order differs. */
  function morphChildren(before, after) {
    const old = [...before.children].length ? [...before.childNodes] : null;
    const fresh = [...after.childNodes];
    if (old === null || fresh.every((node, place) => old[place] && keyOf(old[place]) === keyOf(node))) {
      const nodes = [...before.childNodes];
      fresh.forEach((node, place) => nodes[place] ? morph(nodes[place], node) : before.append(document.importNode(node, true)));
      nodes.slice(fresh.length).forEach((node) => node.remove());
      return;
    }
    const found = new Map();
    for (const node of old) if (node.nodeType === Node.ELEMENT_NODE && !found.has(keyOf(node))) found.set(keyOf(node), node);
    let next = before.firstChild;
    for (const node of fresh) {
      const same = node.nodeType === Node.ELEMENT_NODE ? found.get(keyOf(node)) : undefined;
      if (same) found.delete(keyOf(node));
      if (!same) before.insertBefore(document.importNode(node, true), next);
      else {
        while (next && next !== same && !fresh.some((other) => keyOf(other) === keyOf(next))) next = removed(next);
        if (next === same) next = next.nextSibling;
        else before.insertBefore(same, next);
        morph(same, node);
      }
    }
    while (next) next = removed(next);
  }

  function removed(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  function show(text) {
    const style = text.match(/<style>([\s\S]*?)<\/style>/);
    const start = text.indexOf('<main id="page">');
    const end = text.lastIndexOf("</main>");
    if (!style || start < 0 || end < start) return;
    sheet.replaceSync(style[1]);
    const parsed = new DOMParser().parseFromString(text.slice(start, end + "</main>".length), "text/html");
    const anchor = [...page.children].find((node) => node.getBoundingClientRect().bottom > 60);
    const top = anchor && anchor.getBoundingClientRect().top;
    morph(page, parsed.querySelector("#page"));
    window.steer(document);
    if (anchor && anchor.isConnected && window.scrollY > 0) window.scrollBy(0, anchor.getBoundingClientRect().top - top);
  }

  const words = (value, digits) => value.toLocaleString("en", digits === undefined ? {} : { maximumSignificantDigits: digits });

  function tell(state) {
    phase = state.phase;
    document.querySelector(".live-bar").dataset.phase = phase;
    document.title = `${state.run}: ${PHASES[phase].toLowerCase()}`;
    const isWriting = phase === "training" && state.step !== null && state.step >= state.total_steps;
    say(isWriting ? "Writing the report" : PHASES[phase]);
    if (state.step === null) return;
    const progress = document.querySelector("#live-progress");
    [progress.max, progress.value] = [Math.max(state.total_steps, 1), state.step];
    const numbers = [`step ${words(state.step)} of ${words(state.total_steps)}`];
    if (typeof state.metrics.loss === "number") numbers.push(`loss ${words(state.metrics.loss, 5)}`);
    if (phase === "training" && state.metrics.examples_per_second) numbers.push(`${words(state.metrics.examples_per_second, 3)} examples/s`);
    if (state.version === null) numbers.push("the report follows with the first checkpoint");
    document.querySelector("#live-numbers").textContent = numbers.join(" · ");
  }

  function say(sentence) {
    const found = document.querySelector("#live-phase");
    if (found.textContent !== sentence) found.textContent = sentence;
  }

  async function ask(path) {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error((await answer.json()).error);
    return answer;
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const state = await (await ask(`/state?version=${encodeURIComponent(shown || "")}`)).json();
      const isNew = state.version !== null && state.version !== shown;
      if (isNew) {
        show(await (await ask("/report")).text());
        shown = state.version;
      }
      tell(state);
      if (isNew) return void refresh(); // so that the server knows that its last report is shown
      if (isOver()) return;
    } catch (error) {
      if (isOver()) return;
      document.querySelector(".live-bar").dataset.phase = "lost";
      say("Connection lost: the training has ended, or this machine cannot reach it");
      timer = setTimeout(refresh, LOST_MS);
      return;
    }
    timer = setTimeout(refresh, document.hidden ? HIDDEN_MS : NEXT_MS);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  history.replaceState(null, "", "/");
  refresh();
})();
