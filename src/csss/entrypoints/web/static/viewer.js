// The image of a scan: heat map, invert, zoom, pan and their keys. Decides nothing, keeps one preference.
"use strict";

const viewer = document.querySelector("[data-viewer]");
const stage = viewer.querySelector("[data-stage]");
const pictures = viewer.querySelector("[data-pictures]");
const words = viewer.querySelector("[data-zoom-words]");
const dialog = document.querySelector("[data-keys]");
const everywhere = dialog.querySelector("[data-keys-on]");
const KEYS_OFF = "csss-keys";
const view = { zoom: 1, x: 0, y: 0 };

function draw() {
  const reach = { x: (stage.clientWidth * view.zoom) / 2, y: (stage.clientHeight * view.zoom) / 2 };
  view.x = Math.max(-reach.x, Math.min(reach.x, view.x));
  view.y = Math.max(-reach.y, Math.min(reach.y, view.y));
  pictures.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  // Far enlarged, pixels are shown as they are: smoothing would look like detail.
  const scan = pictures.querySelector(".viewer-scan");
  const shown = Math.min(stage.clientWidth / scan.naturalWidth, stage.clientHeight / scan.naturalHeight) * view.zoom;
  scan.style.imageRendering = shown > 6 ? "pixelated" : "auto";
  words.textContent = `${Math.round(view.zoom * 100)} %`;
}

function zoomTo(zoom, at = { x: 0, y: 0 }) {
  const next = Math.max(0.5, Math.min(12, zoom));
  const ratio = next / view.zoom;
  view.x = at.x - (at.x - view.x) * ratio;
  view.y = at.y - (at.y - view.y) * ratio;
  view.zoom = next;
  draw();
}

function reset() {
  Object.assign(view, { zoom: 1, x: 0, y: 0 });
  for (const box of viewer.querySelectorAll("#invert, #show-heat")) box.checked = false;
  const slider = viewer.querySelector("[data-opacity]");
  if (slider) slider.value = 100;
  fade();
  draw();
}

function fade() {
  const heat = pictures.querySelector(".viewer-heat");
  if (heat) heat.style.opacity = viewer.querySelector("[data-opacity]").value / 100;
}

function fromCentre(event) {
  const box = stage.getBoundingClientRect();
  return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomTo(view.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15), fromCentre(event));
}, { passive: false });

const fingers = new Map();
stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  fingers.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
  stage.classList.add("dragging");
});
stage.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  if (fingers.size === 1) {
    view.x += event.clientX - before.clientX;
    view.y += event.clientY - before.clientY;
    draw();
  } else {
    const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    const gap = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoomTo(view.zoom * (gap(event) / Math.max(1, gap(before))), fromCentre(event));
  }
  fingers.set(event.pointerId, event);
});
for (const end of ["pointerup", "pointercancel"]) {
  stage.addEventListener(end, (event) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) stage.classList.remove("dragging");
  });
}

viewer.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.zoom === "in") zoomTo(view.zoom * 1.25);
  else if (button.dataset.zoom === "out") zoomTo(view.zoom / 1.25);
  else if (button.dataset.zoom === "reset") reset();
  else if ("keysOpen" in button.dataset) dialog.showModal();
});
viewer.querySelector("[data-opacity]")?.addEventListener("input", fade);

const MOVES = { ArrowUp: [0, 40], ArrowDown: [0, -40], ArrowLeft: [40, 0], ArrowRight: [-40, 0] };

function move(key) {
  view.x += MOVES[key][0];
  view.y += MOVES[key][1];
  draw();
}

function press(key) {
  const target = document.querySelector(`[data-key="${key}"]`);
  if (!target) return false;
  if (target.type === "submit") {
    target.focus();
    return true;
  }
  target.click();
  return true;
}

function act(event, focused) {
  const key = event.key;
  if (key === "?") dialog.showModal();
  else if (key === "+" || key === "=") zoomTo(view.zoom * 1.25);
  else if (key === "-") zoomTo(view.zoom / 1.25);
  else if (key === " ") reset();
  else if (focused && key in MOVES) move(key);
  else return /^[a-z]$/i.test(key) && press(key.toLowerCase());
  return true;
}

// Single keys must be possible to switch off (WCAG 2.2, 2.1.4); typing is never taken for a key.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  const target = event.target;
  const focused = target === viewer;
  const typing = target.matches("textarea, select, input:not([type='radio'], [type='checkbox'])");
  const handled = target.matches("a, button, summary, input") && (event.key === " " || event.key === "Enter");
  if (typing || handled || (!everywhere.checked && !focused)) return;
  if (act(event, focused)) event.preventDefault();
});

everywhere.checked = localStorage.getItem(KEYS_OFF) !== "off";
everywhere.addEventListener("change", () => {
  if (everywhere.checked) localStorage.removeItem(KEYS_OFF);
  else localStorage.setItem(KEYS_OFF, "off");
});
