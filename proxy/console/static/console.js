// What the pages do beside being read: the live list, keys, replay, copying, and what acts. All that a stranger sent is
// set as text, never as markup; the policy of the pages would not let it be anything else.
"use strict";

const page = document.body.dataset.page;
const mayAct = document.body.dataset.act === "yes";
const find = (id) => document.getElementById(id);

for (const each of document.querySelectorAll(".acts[hidden]")) each.hidden = false;

function make(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function tell(text) {
  find("told").textContent = text;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => (find("told").textContent = ""), 8000);
}

// Of the API, unless it begins with a slash.
async function ask(method, place, content) {
  const asked = { method, headers: {} };
  if (method === "POST") {
    asked.headers["Content-Type"] = "application/json";
    asked.body = JSON.stringify(content || {});
  }
  const answer = await fetch(place.startsWith("/") ? place : "/api/v1/" + place, asked);
  const text = await answer.text();
  let found = {};
  try {
    found = JSON.parse(text);
  } catch {
    found = { error: { what: text.trim() || String(answer.status) } };
  }
  if (answer.ok) return found;
  const wrong = found.error || {};
  throw new Error(wrong.mend ? `${wrong.what}: ${wrong.mend}` : wrong.what || `it answered ${answer.status}`);
}

async function attempt(act) {
  try {
    await act();
  } catch (error) {
    tell(error.message);
  }
}

// -- keys

const keys = {};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

keys["?"] = () => find("help").showModal();
keys["/"] = () => (find("q") ? find("q").select() : (location.href = "/"));
keys["u"] = () => (location.href = "/");

// -- the live list

const MOST_ROWS = 10000;

function list() {
  const rows = find("list");
  const query = document.body.dataset.query;
  const known = new Set(Array.from(rows.children, (row) => row.dataset.id));
  let waiting = [];
  let held = false;
  let drawn = 0;

  function row(one) {
    const made = make("li");
    made.dataset.id = one.id;
    const link = make("a", undefined, one.verdict);
    link.href = one.href;
    const at = make("time", one.time);
    at.title = one.title;
    link.append(at);
    for (const [kind, text] of one.cells) link.append(" ", make("span", text, kind));
    made.append(link);
    return made;
  }

  function draw() {
    drawn = 0;
    if (held || !waiting.length) return;
    const fresh = document.createDocumentFragment();
    for (const each of waiting.reverse()) fresh.append(each);
    waiting = [];
    rows.prepend(fresh);
    find("nothing").hidden = true;
    find("counts").textContent = `${rows.children.length} shown. Times are UTC.`;
    while (rows.children.length > MOST_ROWS) {
      known.delete(rows.lastChild.dataset.id);
      rows.lastChild.remove();
    }
  }

  function add(made) {
    waiting.push(made);
    if (waiting.length > MOST_ROWS) waiting.shift();
    if (held) find("live").textContent = `held, ${waiting.length} more`;
    else if (!drawn) drawn = requestAnimationFrame(draw);
  }

  const place = "/live?q=" + encodeURIComponent(query) + "&after=" + encodeURIComponent(document.body.dataset.seen);
  const stream = new EventSource(place);
  stream.addEventListener("open", () => (find("live").textContent = held ? "held" : "live"));
  stream.addEventListener("error", () => (find("live").textContent = "not connected; trying again"));
  stream.addEventListener("delivery", (event) => {
    const one = JSON.parse(event.data);
    if (known.has(one.id)) return;
    known.add(one.id);
    add(row(one));
  });
  stream.addEventListener("gap", (event) => {
    const missed = JSON.parse(event.data).missed;
    add(make("li", `${missed} not shown: more came than could be shown`, "gap"));
  });
  window.addEventListener("pagehide", () => stream.close());
  // A page that comes back from the browser's memory has missed what came meanwhile.
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());

  keys["p"] = () => {
    held = !held;
    find("live").textContent = held ? "held" : "live";
    if (!held) draw();
  };

  function step(forward) {
    const now = document.activeElement.closest && document.activeElement.closest("#list li");
    let next = now ? (forward ? now.nextElementSibling : now.previousElementSibling) : rows.firstElementChild;
    while (next && !next.firstElementChild) next = forward ? next.nextElementSibling : next.previousElementSibling;
    if (next) next.firstElementChild.focus();
  }
  keys["j"] = keys["ArrowDown"] = () => step(true);
  keys["k"] = keys["ArrowUp"] = () => step(false);

  const older = find("older");
  if (!older) return;
  let asking = false;
  async function more() {
    if (asking) return;
    asking = true;
    await attempt(async () => {
      const asked = new URLSearchParams({ q: query, limit: "200", after: new URL(older.href).searchParams.get("after") });
      const found = await ask("GET", "/rows?" + asked);
      for (const one of found.rows) {
        if (known.has(one.id)) continue;
        known.add(one.id);
        rows.append(row(one));
      }
      if (found.next && rows.children.length < MOST_ROWS) {
        older.href = "/?" + new URLSearchParams({ q: query, after: found.next });
        watcher.unobserve(older);
        watcher.observe(older);
      } else if (!found.next) {
        older.remove();
      }
    });
    asking = false;
  }
  const watcher = new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && more(), { rootMargin: "600px" });
  watcher.observe(older);
}

// -- one delivery

function delivery() {
  const name = encodeURIComponent(document.body.dataset.id);
  const dialog = find("replay-dialog");
  const form = find("replay-form");
  const fields = find("edit-fields");
  const body = find("edit-body");

  function order(dry) {
    const given = new FormData(form);
    const made = { sign: given.get("sign"), to: given.get("to"), dry_run: dry };
    if (given.get("duplicates")) made.duplicates = "pass";
    const edit = {};
    if (fields.value !== fields.defaultValue) {
      const lines = fields.value.split("\n").filter((line) => line.trim());
      edit.fields = lines.map((line) => {
        const at = line.indexOf(":");
        return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
      });
    }
    // A textarea has \n alone; what came with \r\n goes back so.
    if (!body.disabled && body.value !== body.defaultValue) edit.body = body.value;
    if (Object.keys(edit).length) made.edit = edit;
    return made;
  }

  async function replay(dry) {
    find("outcome").textContent = "…";
    try {
      const found = await ask("POST", `deliveries/${name}/replay`, order(dry));
      const diff = find("diff");
      diff.hidden = !dry;
      diff.textContent = dry ? found.diff || "It would be sent as it came." : "";
      find("outcome").textContent = dry ? found.outcome : `${found.status} ${found.outcome}`;
      if (!dry && found.id) {
        const link = make("a", "Open it");
        link.href = "/deliveries/" + encodeURIComponent(found.id);
        find("outcome").append(" ", link);
        link.focus();
      }
    } catch (error) {
      find("outcome").textContent = error.message;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    replay(false);
  });
  find("preview").addEventListener("click", () => replay(true));
  find("cancel").addEventListener("click", () => dialog.close());
  find("replay").addEventListener("click", () => dialog.showModal());
  keys["r"] = () => (find("replay").disabled ? tell("This delivery cannot be replayed here.") : dialog.showModal());

  const copy = (kind) =>
    attempt(async () => {
      const found = await ask("GET", `deliveries/${name}/export?as=${kind}`);
      if (found.text === null) return save(found);
      try {
        await navigator.clipboard.writeText(found.text);
        tell(`Copied as ${kind}. What is masked stays masked.`);
      } catch {
        save(found);
      }
    });
  function save(found) {
    const bytes = Uint8Array.from(atob(found.base64), (one) => one.charCodeAt(0));
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([bytes]));
    link.download = found.name;
    link.click();
    URL.revokeObjectURL(link.href);
    tell(`Saved as ${found.name}. What is masked stays masked.`);
  }
  for (const each of document.querySelectorAll("[data-copy]")) each.addEventListener("click", () => copy(each.dataset.copy));
  keys["c"] = () => copy("curl");

  const keep = () =>
    attempt(async () => {
      const found = await ask("POST", `deliveries/${name}/keep`);
      find("checks").append(make("p", `Kept in ${found.file}. Put this into the configuration, and check tries it:`), make("pre", found.stanza));
      tell(`Kept in ${found.file}.`);
    });
  find("keep").addEventListener("click", keep);
  keys["t"] = () => (find("keep").disabled ? tell("This delivery cannot be kept here.") : keep());

  async function neighbour(older) {
    const asked = older ? { limit: "1", after: document.body.dataset.id } : { limit: "1000" };
    const { deliveries } = await ask("GET", "deliveries?" + new URLSearchParams(asked));
    const at = older ? 0 : deliveries.findIndex((one) => one.id === document.body.dataset.id) - 1;
    const next = deliveries[at];
    if (next) location.href = "/deliveries/" + encodeURIComponent(next.id);
    else tell(older ? "There is none that is older." : "There is none that is newer.");
  }
  keys["j"] = () => attempt(() => neighbour(true));
  keys["k"] = () => attempt(() => neighbour(false));
}

// -- what acts on other pages

function button(each, act) {
  each.addEventListener("click", async () => {
    each.disabled = true;
    await attempt(act);
    each.disabled = false;
  });
}

for (const each of document.querySelectorAll("[data-route]")) {
  button(each, async () => {
    await ask("POST", `routes/${encodeURIComponent(each.dataset.route)}/${each.dataset.act}`);
    location.reload();
  });
}
for (const each of document.querySelectorAll("[data-queue]")) {
  button(each, async () => {
    if (each.dataset.act === "drop" && each.textContent !== "Really drop") {
      each.textContent = "Really drop";
      return;
    }
    await ask("POST", `queue/${encodeURIComponent(each.dataset.queue)}/${each.dataset.act}`);
    location.reload();
  });
}
if (find("reload")) {
  button(find("reload"), async () => {
    await ask("POST", "reload");
    tell("The reload has begun; the log says how it ended.");
  });
}

if (page === "list") list();
if (page === "delivery") delivery();
