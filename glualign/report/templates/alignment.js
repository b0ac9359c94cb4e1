"use strict";
(() => {
  const stage = document.getElementById("stage");
  const slider = document.getElementById("slider");
  const controls = document.getElementById("controls");
  const play = document.getElementById("play");
  const hint = document.getElementById("hint");
  const tagOver = document.getElementById("tag-over");
  const tagUnder = document.getElementById("tag-under");
  const PERIOD = 700; // milliseconds per flicker frame
  let position = 50;
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let timer = 0;

  const hints = {
    slider: "Drag, tap, or use the arrow keys.",
    flicker: "Whatever jumps is not aligned.",
    difference: "Target red, source cyan: grey where they agree, coloured fringes where they do not.",
  };

  // Without scripts all pictures stand one below the other; from here on they share one stage.
  document.documentElement.classList.add("live");
  controls.hidden = false;

  const sourceName = () => (stage.dataset.state === "after" ? "Source, warped" : "Source, as it was");

  function moveTo(percent) {
    position = Math.min(100, Math.max(0, percent));
    stage.style.setProperty("--position", position + "%");
    slider.setAttribute("aria-valuenow", String(Math.round(position)));
    slider.setAttribute("aria-valuetext", Math.round(position) + " % source");
  }

  function nameParts() {
    const view = stage.dataset.view;
    const swapped = stage.classList.contains("swapped");
    tagOver.textContent = view === "slider" || (view === "flicker" && swapped) ? sourceName() : "";
    tagUnder.textContent = view === "slider" || (view === "flicker" && !swapped) ? "Target" : "";
  }

  function swap() {
    stage.classList.toggle("swapped");
    nameParts();
  }

  function flicker() {
    clearInterval(timer);
    const here = stage.dataset.view === "flicker";
    play.hidden = !here;
    play.textContent = playing ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(playing));
    if (here && playing) timer = setInterval(swap, PERIOD);
  }

  function choose() {
    const chosen = new FormData(controls);
    stage.dataset.view = chosen.get("view");
    stage.dataset.state = chosen.get("state");
    slider.hidden = stage.dataset.view !== "slider";
    hint.textContent = hints[stage.dataset.view];
    nameParts();
    flicker();
  }

  const keys = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10 };
  slider.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Home") moveTo(0);
    else if (event.key === "End") moveTo(100);
    else if (event.key in keys) moveTo(position + keys[event.key] * (event.shiftKey ? 5 : 1));
    else return;
    event.preventDefault();
  });

  function follow(event) {
    const box = stage.getBoundingClientRect();
    moveTo((100 * (event.clientX - box.left)) / box.width);
  }
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stage.dataset.view === "difference") return;
    if (stage.dataset.view === "flicker") {
      if (!playing) swap(); // paused: each tap shows the other image
      return;
    }
    stage.setPointerCapture(event.pointerId);
    slider.focus({ preventScroll: true });
    follow(event);
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });

  play.addEventListener("click", () => {
    playing = !playing;
    flicker();
  });
  document.querySelectorAll(".zoom").forEach((button) => {
    button.addEventListener("click", () => {
      const wide = button.closest("figure").classList.toggle("wide");
      button.setAttribute("aria-expanded", String(wide));
    });
  });
  controls.addEventListener("change", choose);
  controls.addEventListener("submit", (event) => event.preventDefault());
  moveTo(50);
  choose();
})();
