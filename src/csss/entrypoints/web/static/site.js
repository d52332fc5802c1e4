// Small comforts of every page: theme, copying, local times, adding a medicine. Every page works without them.
"use strict";

const root = document.documentElement;
root.classList.add("scripted");

function isDark() {
  if (root.dataset.theme) return root.dataset.theme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// The choice lives in a cookie, so that the server draws the next page in it and nothing flashes.
function switchTheme() {
  const theme = isDark() ? "light" : "dark";
  root.dataset.theme = theme;
  document.cookie = `csss_theme=${theme}; path=/; max-age=31536000; samesite=lax`;
}

async function copyText(button) {
  const source = document.getElementById(button.dataset.copy);
  const words = button.textContent;
  const spaced = source.id === "totp-secret";
  const text = spaced ? source.textContent.replaceAll(" ", "") : source.textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { button.textContent = words; }, 2000);
}

function addMedicine(button) {
  const all = button.closest("[data-medicines]").querySelectorAll("[data-medicine]");
  const fresh = all[all.length - 1].cloneNode(true);
  for (const input of fresh.querySelectorAll("input")) input.value = "";
  all[all.length - 1].after(fresh);
  fresh.querySelector("input").focus();
}

// The exact time on hover, in the reader's own zone.
function localiseTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if ("exact" in time.dataset) continue;
    time.title = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
    if ("clock" in time.dataset) time.textContent = moment.toLocaleTimeString(undefined, { timeStyle: "short" });
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("themeToggle" in button.dataset) switchTheme();
  else if ("copy" in button.dataset) copyText(button);
  else if ("addMedicine" in button.dataset) addMedicine(button);
});

// A step on a case is sent once, however often the button is pressed.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  else if (!event.target.hasAttribute("hx-post")) event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

localiseTimes(document);
const refusal = document.querySelector("[data-refusal]");
refusal?.focus({ preventScroll: true });
refusal?.scrollIntoView({ block: "center" });
