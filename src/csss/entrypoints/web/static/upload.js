// Sending a file: drop, preview, progress and refusal in place. Without it the same form is sent by the browser.
"use strict";

const form = document.querySelector("[data-upload]");
const drop = form.querySelector("[data-drop]");
const input = form.querySelector("input[type='file']");
const place = form.querySelector("[data-refusal-place]");
const progress = form.querySelector("[data-progress]");
const button = form.querySelector("button[type='submit']");

function say(text) {
  const notice = document.createElement("div");
  notice.className = "notice tone-stop";
  notice.setAttribute("role", "alert");
  notice.tabIndex = -1;
  notice.append(Object.assign(document.createElement("p"), { textContent: text }));
  place.replaceChildren(notice);
  notice.focus();
}

function inWords(bytes) {
  return bytes < 1048576 ? `${Math.max(1, Math.round(bytes / 1024))} kB` : `${(bytes / 1048576).toFixed(1)} MB`;
}

// The server judges; this only saves a person the wait for an upload that is going to be refused.
function tooLarge(file) {
  const picture = /\.(png|jpe?g)$/i.test(file.name);
  const limit = Number(picture ? form.dataset.pictureLimit : form.dataset.dicomLimit);
  return file.size > limit ? `This file has ${inWords(file.size)}; at most ${inWords(limit)} are accepted.` : "";
}

function show() {
  const file = input.files[0];
  const box = form.querySelector("[data-preview]");
  const image = form.querySelector("[data-preview-image]");
  box.hidden = !file;
  place.replaceChildren();
  if (image.src) URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
  image.hidden = true;
  form.querySelector("[data-preview-icon]").hidden = false;
  form.querySelector("[data-file-name]").textContent = file ? `${file.name}, ${inWords(file.size)}` : "";
  if (!file) return;
  const problem = tooLarge(file);
  if (problem) say(problem);
  if (!/^image\/(png|jpeg)$/.test(file.type)) return;
  image.onload = () => {
    image.hidden = false;
    form.querySelector("[data-preview-icon]").hidden = true;
  };
  image.src = URL.createObjectURL(file);
}

input.addEventListener("change", show);
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length > 1) {
    say("One file at a time, please.");
    return;
  }
  input.files = event.dataTransfer.files;
  show();
});
// A file that misses the field must not replace the page.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

function finish(request) {
  button.disabled = false;
  progress.hidden = true;
  const address = request.getResponseHeader("HX-Redirect");
  if (address) {
    location.assign(address);
    return;
  }
  const answer = new DOMParser().parseFromString(request.responseText, "text/html");
  const refusal = answer.querySelector("[data-refusal]");
  if (!refusal) {
    say(answer.querySelector("[role='alert']")?.textContent.trim() || "The server did not take the file. Try again.");
    return;
  }
  place.replaceChildren(document.adoptNode(refusal));
  place.firstElementChild.focus();
}

form.addEventListener("submit", (event) => {
  const file = input.files[0];
  if (!file) return;
  event.preventDefault();
  const problem = tooLarge(file);
  if (problem) {
    say(problem);
    return;
  }
  const bar = progress.querySelector("progress");
  const words = progress.querySelector("[data-progress-words]");
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "text/html");
  request.setRequestHeader("HX-Request", "true");
  request.upload.onprogress = (now) => {
    if (!now.lengthComputable) return;
    bar.value = (now.loaded / now.total) * 100;
    words.textContent = now.loaded < now.total ? `${inWords(now.loaded)} of ${inWords(now.total)} sent` : "Sent. The file is being checked.";
  };
  request.onload = () => finish(request);
  request.onerror = () => {
    button.disabled = false;
    progress.hidden = true;
    say("The connection was lost. The file is still chosen: send it again. If it did arrive, it is not taken twice.");
  };
  place.replaceChildren();
  bar.value = 0;
  progress.hidden = false;
  button.disabled = true;
  request.send(new FormData(form));
});
