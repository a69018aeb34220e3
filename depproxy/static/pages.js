// Copying, and keeping downloads fresh. Everything on the pages can be read without it.
"use strict";

document.documentElement.classList.add("scripted");

const POLL_BUSY = 1500; // milliseconds between two looks while something is under way
const POLL_IDLE = 10000; // and while nothing is

function say(text) {
  const place = document.getElementById("said");
  place.textContent = "";
  place.textContent = text;
}

// navigator.clipboard is there under TLS and on localhost only, and this server often runs without.
function copyByHand(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // the browser may forbid it, and still allow the other way
    }
  }
  return copyByHand(text);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const done = await copy(button.dataset.copy);
  button.focus();
  button.classList.add(done ? "done" : "failed");
  say(done ? "Copied" : "The browser does not allow copying");
  setTimeout(() => button.classList.remove("done", "failed"), 1600);
});

document.getElementById("sort")?.addEventListener("change", (event) => event.target.form.requestSubmit());

const fills = document.getElementById("fills");

function notice() {
  const line = document.createElement("p");
  const link = document.createElement("a");
  line.className = "panel notice";
  link.href = location.pathname + location.search;
  link.textContent = "Reload";
  line.append("The downloads have ended. ", link, " to see what has come.");
  return line;
}

async function refresh() {
  let wait = POLL_IDLE;
  try {
    if (!document.hidden) {
      const reply = await fetch(fills.dataset.fills, { redirect: "error", cache: "no-store" });
      if (reply.status === 404) return; // whoever was signed in may not see it any more
      if (reply.ok) {
        const wasBusy = fills.querySelector("progress") !== null;
        const part = new DOMParser().parseFromString(await reply.text(), "text/html");
        const isBusy = part.querySelector("progress") !== null;
        if (isBusy) {
          fills.replaceChildren(...part.body.childNodes);
        } else if (wasBusy) {
          fills.replaceChildren(notice());
          say("The downloads have ended");
        }
        if (isBusy) wait = POLL_BUSY;
      }
    }
  } catch {
    // the server is away, or the session has ended: another look later does no harm
  }
  setTimeout(refresh, wait);
}

if (fills) setTimeout(refresh, fills.querySelector("progress") ? POLL_BUSY : POLL_IDLE);
