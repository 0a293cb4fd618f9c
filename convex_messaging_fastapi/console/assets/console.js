// Keeps what a page shows up to date. Without this script every page still reads, and every form still works.
// It builds elements and sets their text: no answer is ever taken for HTML, but for the page itself.
const EVERY = 2000;
const MOST_ROWS = 200;
const base = document.body.dataset.base;
const live = document.getElementById("live");
const etags = new Map(); // by address, of what was last answered

async function ask(address, read) {
  const etag = etags.get(address);
  const headers = etag ? { "If-None-Match": etag } : {};
  const answer = await fetch(address, { headers, cache: "no-store", credentials: "same-origin" });
  if (answer.status === 304) return null;
  if (!answer.ok) throw new Error(String(answer.status));
  const told = await read(answer);
  etags.set(address, answer.headers.get("ETag"));
  return told;
}

function say(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

function element(name, attributes = {}, ...inside) {
  const space = "http://www.w3.org/2000/svg";
  const made = ["svg", "polyline"].includes(name)
    ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

// -- again and again, one after another, and not while nobody looks
const WHY = { 401: "Log in again: reload the page.", 403: "Log in again: reload the page.",
  429: "Busy: what is shown may be old." };

async function again(step) {
  if (!document.hidden) {
    try {
      await step();
      say("");
    } catch (error) {
      say(WHY[error.message] ?? "No answer: what is shown may be old.");
    }
  }
  setTimeout(() => again(step), EVERY);
}

// -- fragments: the page is asked for again, and its live parts are put in the place of the old ones
function replace(old, fresh) {
  const inUse = old !== document.activeElement && old.contains(document.activeElement);
  if (inUse || old.querySelector("input:checked")) return; // whoever chooses is not to be disturbed
  const open = new Set();
  old.querySelectorAll("details").forEach((each, at) => { if (each.open) open.add(each.id || at); });
  fresh.querySelectorAll("details").forEach((each, at) => { each.open = open.has(each.id || at); });
  if (old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes);
  choosing();
}

async function refresh() {
  const text = await ask(location.href, (answer) => answer.text());
  const drawn = document.getElementById("drawn");
  if (text === null) {
    const now = new Date().toISOString();
    drawn.dateTime = now;
    drawn.textContent = now.slice(0, 19).replace("T", " ");
    return;
  }
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const found = fresh.getElementById(old.id);
    if (found) replace(old, found);
  }
  drawn.replaceWith(fresh.getElementById("drawn"));
}

// -- sparklines: one figure for each count, from the same answer
const LINES = [["handled", "Handled", ""], ["failed", "Failed attempts", "bad"],
  ["buried", "Dead letters", "bad"], ["published", "Published", ""]];
const WIDE = 60;
const HIGH = 20;

function figure(steps, seconds, [name, title, kind]) {
  const counts = steps.map((each) => each.counted[name]);
  const most = Math.max(1, ...counts);
  const first = WIDE - counts.length;
  const points = counts.map((count, at) => `${first + at},${(HIGH - 1 - (count / most) * (HIGH - 2)).toFixed(2)}`);
  const sum = counts.reduce((one, other) => one + other, 0).toLocaleString("en");
  const minutes = Math.max(1, Math.round((counts.length * seconds) / 60));
  const label = `${title}: ${sum} in the last ${minutes} min, at most ${most} in ${seconds} s`;
  const svg = element("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img",
    "aria-label": label }, element("polyline", { points: points.join(" ") }));
  return element("figure", { class: kind }, svg, element("figcaption", {}, `${title}: ${sum}`));
}

async function sparklines() {
  const told = await ask(`${base}/api/course`, (answer) => answer.json());
  if (told === null || !told.steps.length) return;
  const place = document.getElementById("sparklines");
  place.replaceChildren(...LINES.map((line) => figure(told.steps, told.step_seconds, line)));
  place.hidden = false;
}

// -- the tail: what has come is put above the rest
function row(message) {
  const cell = (label, text) =>
    element("td", { "data-label": label }, element("code", {}, visible(text)));
  const cut = message.is_cut ? `… (${message.size.toLocaleString("en")} bytes)` : "";
  return element("tr", {}, element("th", { scope: "row" }, `${message.partition}/${message.offset}`),
    element("td", { "data-label": "Time" }, message.at), cell("Key", message.key ?? "none"),
    cell("Value", message.value === null ? "none (a tombstone)" : message.value + cut));
}

function visible(text) { // controls, and what turns the direction of writing or has no width
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (each) => each === "\n" || each === "\t" ? each
    : `\\u${each.codePointAt(0).toString(16).padStart(4, "0")}`);
}

function tailing(table) {
  const hold = document.getElementById("hold");
  const told = document.getElementById("passed");
  const body = table.tBodies[0];
  let after = table.dataset.after;
  let passed = 0;
  hold.hidden = false;
  hold.addEventListener("click", () => {
    const held = hold.getAttribute("aria-pressed") !== "true";
    hold.setAttribute("aria-pressed", String(held));
    hold.textContent = held ? "Go on" : "Hold";
  });
  return async () => {
    if (hold.getAttribute("aria-pressed") === "true") return;
    const query = new URLSearchParams({ topic: table.dataset.topic, after, limit: String(MOST_ROWS) });
    const found = await ask(`${base}/api/tail?${query}`, (answer) => answer.json());
    if (found === null) return;
    etags.clear(); // the next address is another one
    after = found.next;
    passed += found.passed;
    if (passed) told.textContent = `${passed.toLocaleString("en")} came too fast to be shown.`;
    for (const message of found.messages) body.prepend(row(message));
    while (body.rows.length > MOST_ROWS) body.lastElementChild.remove();
    document.getElementById("no-messages").hidden = body.rows.length > 0;
  };
}

// -- all of a page's letters at once
function choosing() {
  const form = document.getElementById("some");
  if (!form || form.querySelector("thead input")) return;
  const boxes = [...form.querySelectorAll("input[name=ids]")];
  const all = element("input", { type: "checkbox", "aria-label": "Choose all on this page" });
  all.addEventListener("change", () => boxes.forEach((each) => { each.checked = all.checked; }));
  form.querySelector("thead th").append(all);
}

const table = document.getElementById("tail");
choosing();
if (document.getElementById("sparklines")) again(sparklines);
if (table) again(tailing(table));
if (document.querySelector("[data-live]")) setTimeout(() => again(refresh), EVERY);
