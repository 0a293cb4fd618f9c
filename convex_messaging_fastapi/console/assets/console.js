// Keeps what a page shows up to date. Without this script every page still reads, and every form still works.
const EVERY = 2000;
const base = document.body.dataset.base;
const live = document.getElementById("live");
const known = new Map(); // by address: what was last answered, and its ETag

async function ask(address, read) {
  const last = known.get(address);
  const headers = last?.etag ? { "If-None-Match": last.etag } : {};
  const answer = await fetch(address, { headers, cache: "no-store", credentials: "same-origin" });
  if (answer.status === 304) return null;
  if (!answer.ok) throw new Error(String(answer.status));
  known.set(address, { etag: answer.headers.get("ETag") });
  return read(answer);
}

function say(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

// -- fragments: the page is asked for again, and its live parts are put in the place of the old ones
function replaced(old, fresh) {
  if (old.contains(document.activeElement) && document.activeElement !== document.body) return;
  const open = new Set([...old.querySelectorAll("details[open]")].map((each, at) => each.id || at));
  const all = [...fresh.querySelectorAll("details")];
  all.forEach((each, at) => { if (open.has(each.id || at)) each.open = true; });
  if (old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes);
}

async function refresh() {
  const text = await ask(location.href, (answer) => answer.text());
  if (text === null) return;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const found = fresh.getElementById(old.id);
    if (found) replaced(old, found);
  }
  const drawn = fresh.getElementById("drawn");
  if (drawn) document.getElementById("drawn").replaceWith(drawn);
}

async function again(step) {
  if (!document.hidden) {
    try {
      await step();
      say("");
    } catch (error) {
      const told = error.message === "401" || error.message === "403" ? "Log in again: reload the page." :
        "No answer; what is shown may be old.";
      say(told);
    }
  }
  setTimeout(() => again(step), EVERY);
}

if (document.querySelector("[data-live]")) setTimeout(() => again(refresh), EVERY);
