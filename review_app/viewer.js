// The Vote page: shows one group at a time, takes the answer by key or button, and shows the next when it is on disk.

const ANSWERS = [
  ["1", "same", "Same", "yes"],
  ["2", "same_other_side", "Same, other side", "yes"],
  ["3", "same_site", "Same site", ""],
  ["4", "different", "Different", "no"],
  ["5", "unsure", "Can't tell", ""],
];
const KEYS = [
  ["1 to 5", "answer for all photos of the group, save those set apart"],
  ["← →", "walk through the photos; with Alt: through the other side"],
  ["x, then 1 to 5", "set the shown photo apart: its own answer; x x takes that back"],
  ["+ − 0", "zoom both pictures in, out, fit; or the wheel"],
  ["Shift + arrows", "move both pictures; or drag"],
  ["b", "the query's box alone, or the whole picture"],
  ["l", "lines between what was matched"],
  ["n", "write a note; Enter or Esc goes back"],
  ["k", "skip: it comes back later"],
  ["u", "undo the last answer"],
  ["?", "these keys; Esc closes them"],
];

async function post(path, body) {
  const reply = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Overlap": "1" },
    body: JSON.stringify(body),
  });
  if (reply.status === 401) { location.href = "/"; throw new Error("signed out"); }
  const said = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(said.error || reply.statusText), { status: reply.status });
  return said;
}

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function viewer(root) {
  const state = { task: null, left: 0, right: 0, view: { scale: 1, x: 0, y: 0 }, apart: {}, choosing: false,
                  boxed: false, lines: null, showLines: false, seq: 0, shownAt: 0, busy: false, retry: null };
  const ask = element("span", { className: "ask" });
  const count = element("span", {});
  const said = element("div", { className: "said", role: "status", "aria-live": "polite" });
  const stage = element("div", { className: "stage" });
  const strips = [element("div", { className: "strip" }), element("div", { className: "strip" })];
  const answers = element("div", { className: "bar answers", role: "group", "aria-label": "Answer" });
  const buttons = ANSWERS.map(([key, answer, label, look]) =>
    element("button", { type: "button", className: look, onclick: () => choose(answer), "data-answer": answer },
      label, element("kbd", {}, key)));
  const note = element("input", { type: "text", maxLength: 2000, placeholder: "Note (n)", "aria-label": "Note" });
  const tool = (label, key, act) =>
    element("button", { type: "button", onclick: act, "aria-label": label, title: label }, label, element("kbd", {}, key));
  const forPairs = [tool("Set apart", "x", setApart), tool("Lines", "l", toggleLines), tool("Box", "b", toggleBox)];
  answers.append(...buttons, element("span", { className: "note" }, note));
  const tools = element("div", { className: "bar" },
    ...forPairs, tool("Fit", "0", () => zoom(0)), element("span", { className: "gap" }),
    tool("Skip", "k", skip), tool("Undo", "u", undo), tool("Keys", "?", () => showHelp(true)));
  const help = element("div", { className: "help", hidden: true, role: "dialog", "aria-label": "Keys", "aria-modal": "true" },
    element("div", {}, element("h3", { style: "margin-top:0" }, "Keys"),
      element("table", {}, ...KEYS.map(([key, text]) =>
        element("tr", {}, element("td", {}, element("kbd", {}, key)), element("td", {}, text)))),
      element("p", {}, element("button", { type: "button", onclick: () => showHelp(false) }, "Close"))));
  const body = element("div", { className: "viewer" },
    element("div", { className: "top" }, ask, count), stage, element("div", { className: "strips" }, ...strips), answers, tools, said, help);
  root.replaceChildren(body);

  const frames = [0, 1].map((side) => {
    const image = element("img", { draggable: false });
    const box = element("div", { className: "box", hidden: true });
    const moved = element("div", { className: "moved" }, image, box);
    const tag = element("span", { className: "tag" });
    const frame = element("div", { className: "frame" }, moved, tag);
    image.onload = () => { place(); settle(); };
    image.onerror = () => { tag.textContent = "This photo can't be shown"; settle(); };
    frame.onwheel = (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1 : -1, pointer(event, frame)); };
    frame.onpointerdown = (event) => { frame.setPointerCapture(event.pointerId); state.drag = [event.clientX, event.clientY]; };
    frame.onpointermove = (event) => {
      if (!state.drag || !frame.hasPointerCapture(event.pointerId)) return;
      pan((event.clientX - state.drag[0]) / frame.clientWidth, (event.clientY - state.drag[1]) / frame.clientHeight);
      state.drag = [event.clientX, event.clientY];
    };
    frame.onpointerup = () => { state.drag = null; };
    return { image, box, moved, tag, frame };
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  new ResizeObserver(place).observe(stage);

  function pointer(event, frame) {
    const area = frame.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  }

  function sides() { return [state.task.left[state.left], state.task.right[state.right]]; }

  function settle() {
    const ready = frames.every(({ image }) => image.complete);
    body.dataset.ready = ready && state.task ? state.task.group + ":" + state.right : "";
    if (ready) state.ahead = (state.task?.soon || []).map(decoded);
  }

  // Kept and decoded before they are needed, so that they show at once.
  function decoded(address) {
    const image = new Image();
    image.src = address;
    image.decode().catch(() => {});
    return image;
  }

  // Both pictures are fitted into their frames and then moved by the same share of the frame: they move together.
  function place() {
    frames.forEach(({ image, moved, frame }) => {
      if (!image.naturalWidth) return;
      const fit = Math.min(frame.clientWidth / image.naturalWidth, frame.clientHeight / image.naturalHeight);
      const [width, height] = [image.naturalWidth * fit, image.naturalHeight * fit];
      const { scale, x, y } = state.view;
      moved.style.width = width + "px";
      moved.style.height = height + "px";
      const left = frame.clientWidth * (0.5 + x) - (width * scale) / 2;
      const top = frame.clientHeight * (0.5 + y) - (height * scale) / 2;
      moved.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    });
    drawLines();
  }

  function zoom(direction, at = [0.5, 0.5]) {
    const view = state.view;
    if (direction === 0) state.view = { scale: 1, x: 0, y: 0 };
    else {
      const scale = Math.min(Math.max(view.scale * (direction > 0 ? 1.3 : 1 / 1.3), 1), 16);
      const factor = scale / view.scale;
      const away = [at[0] - 0.5, at[1] - 0.5];
      state.view = { scale, x: away[0] + (view.x - away[0]) * factor, y: away[1] + (view.y - away[1]) * factor };
      if (scale === 1) state.view = { scale, x: 0, y: 0 };
    }
    place();
  }

  function pan(x, y) { state.view = { ...state.view, x: state.view.x + x, y: state.view.y + y }; place(); }

  function spot(side, [x, y]) {
    const { moved, frame, image } = frames[side];
    const query = sides()[0];
    if (side === 0 && !state.boxed && query.box) {
      const [x0, y0, x1, y1] = query.box;
      [x, y] = [x0 + x * (x1 - x0), y0 + y * (y1 - y0)];
    }
    const matrix = new DOMMatrix(moved.style.transform);
    const [width, height] = [parseFloat(moved.style.width), parseFloat(moved.style.height)];
    return [frame.offsetLeft + matrix.e + x * width * matrix.a, frame.offsetTop + matrix.f + y * height * matrix.d];
  }

  function drawLines() {
    svg.replaceChildren();
    if (!state.showLines || !state.lines || !frames.every(({ moved }) => moved.style.transform)) return;
    state.lines.query.forEach((point, number) => {
      const [from, to] = [spot(0, point), spot(1, state.lines.photo[number])];
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      const hue = (number * 47) % 360;
      for (const [key, value] of Object.entries({ x1: from[0], y1: from[1], x2: to[0], y2: to[1],
        stroke: `hsl(${hue} 90% 55%)`, "stroke-width": 1.3, "stroke-opacity": 0.8 })) line.setAttribute(key, value);
      svg.append(line);
    });
  }

  async function toggleLines() {
    state.showLines = !state.showLines;
    await fetchLines();
  }

  async function fetchLines() {
    state.lines = null;
    drawLines();
    const item = state.task?.kind === "pair" && sides()[1].item;
    if (!state.showLines || !item) return;
    try {
      const lines = await post("/api/lines", { item });
      if (state.task && sides()[1].item === item) { state.lines = lines; tell(`${lines.query.length} lines`); drawLines(); }
    } catch (error) { tell(error.message, true); }
  }

  function toggleBox() { state.boxed = !state.boxed; show(); }

  function walk(side, step) {
    const name = side ? "right" : "left";
    const n = state.task[name].length;
    state[name] = (state[name] + step + n) % n;
    show();
    fetchLines();
  }

  function setApart() {
    const item = state.task?.kind === "pair" && sides()[1].item;
    if (!item) return tell("A landmark is judged as a whole: just answer.");
    if (state.task.items.length < 2) return tell("There is only one photo: just answer.");
    if (state.choosing) { state.choosing = false; delete state.apart[item]; tell(""); }
    else { state.choosing = true; tell("This photo alone: 1 to 5, or x to take it back."); }
    show();
  }

  function choose(answer) {
    if (!state.task || state.busy) return;
    if (state.choosing) {
      state.apart[sides()[1].item] = answer;
      state.choosing = false;
      if (state.task.items.some((item) => !(item in state.apart))) {
        tell("Set apart. Now the answer for the others.");
        walk(1, 1);
        return show();
      }
    }
    const all = Object.fromEntries(state.task.items.map((item) => [item, state.apart[item] || answer]));
    state.seq += 1;
    send({ group: state.task.group, lease: state.task.lease, seq: state.seq, answers: all, note: note.value,
           seconds: (performance.now() - state.shownAt) / 1000 });
  }

  // An answer that the server did not confirm is sent again, unchanged, until it does: it can't count twice.
  async function send(vote) {
    state.busy = true;
    body.classList.add("wait");
    try {
      const reply = await post("/api/answer", vote);
      note.value = "";
      tell(words(reply.before));
      take(reply.task);
    } catch (error) {
      if (error.status >= 400 && error.status < 500) { tell(error.message, true); state.busy = false; return load(); }
      if (error.message === "signed out") return;
      tell(`Not saved yet (${error.message}); trying again.`, true);
      state.retry = setTimeout(() => send(vote), 700);
      return;
    }
  }

  function words({ landmark, query, answers: given }) {
    const label = Object.fromEntries(ANSWERS.map(([, answer, text]) => [answer, text]));
    const counts = Object.entries(given).map(([answer, n]) => (n > 1 ? `${label[answer]} × ${n}` : label[answer]));
    const names = [landmark, query].filter(Boolean).join(" · ");
    return `Saved: ${counts.join(", ")}${names ? ` — it was ${names}` : ""}`;
  }

  async function act(path, message) {
    if (state.busy) return;
    state.busy = true;
    try {
      const reply = await post(path, { group: state.task?.group || "" });
      tell(reply.undone === false ? "There is nothing to undo." : message);
      if (reply.undone === false && state.task) state.busy = false; else take(reply.task);
      if (reply.undone === false) await load();
    } catch (error) { tell(error.message, true); state.busy = false; }
  }

  function skip() { if (state.task) act("/api/skip", "Skipped: it comes back later."); }
  function undo() { act("/api/undo", "Undone: answer again."); }

  async function load() {
    try { take((await post("/api/task", {})).task); }
    catch (error) { tell(`${error.message}; trying again.`, true); setTimeout(load, 1000); }
  }

  function take(task) {
    Object.assign(state, { task, left: 0, right: 0, apart: {}, choosing: false, lines: null, busy: false, boxed: false,
                           view: { scale: 1, x: 0, y: 0 }, shownAt: performance.now() });
    body.classList.remove("wait");
    body.dataset.ready = "";
    show();
    fetchLines();
  }

  function show() {
    const task = state.task;
    body.dataset.group = task ? task.group : "";
    body.dataset.items = task ? task.items.join(" ") : "";
    body.dataset.kind = task ? task.kind : "done";
    body.dataset.place = state.right;
    body.classList.toggle("apart", state.choosing);
    buttons.forEach((button) => { button.disabled = !task; });
    forPairs.forEach((button) => { button.disabled = task?.kind !== "pair"; });
    if (!task) {
      ask.textContent = "";
      count.textContent = "";
      strips.forEach((strip) => strip.replaceChildren());
      stage.replaceChildren(element("p", { className: "done" }, "Nothing waits for you now. Thank you! While others still review, more may come: look in again, or see Progress."));
      return;
    }
    if (!stage.contains(svg)) stage.replaceChildren(frames[0].frame, frames[1].frame, svg);
    const text = task.kind === "text";
    ask.textContent = text ? "Is this landmark one of the evaluation set's?" : "Do both show the same landmark?";
    count.textContent = `${task.waiting} ${task.waiting === 1 ? "group waits" : "groups wait"}`;
    sides().forEach((side, number) => {
      const { image, box, tag } = frames[number];
      const whole = number === 0 && side.whole && !state.boxed;
      const address = whole ? side.whole : side.src;
      if (image.getAttribute("src") !== address) image.src = address;
      image.alt = side.alt;
      box.hidden = !whole;
      if (whole) {
        const [x0, y0, x1, y1] = side.box;
        Object.assign(box.style, { left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%` });
      }
      const n = task[number ? "right" : "left"].length;
      const place = n > 1 ? ` ${state[number ? "right" : "left"] + 1} of ${n}` : "";
      tag.textContent = (side.tag ?? (number === 0 ? (text ? "Landmark" : "Query") : text ? "Evaluation query" : "Training photo")) + place;
    });
    strips.forEach((strip, side) => {
      const several = task[side ? "right" : "left"].length > 1;
      strip.style.display = several || side ? "" : "none";
      if (several) fill(strip, side); else { strip.replaceChildren(); strip.dataset.key = ""; }
    });
    place();
    settle();
  }

  function fill(strip, side) {
    const name = side ? "right" : "left";
    const photos = state.task[name];
    const key = photos.map((photo) => photo.small).join();
    if (strip.dataset.key !== key) {
      strip.dataset.key = key;
      strip.replaceChildren(...photos.map((photo, number) =>
        element("button", { type: "button", "aria-label": `${photo.alt}: show large`, onclick: () => { state[name] = number; show(); fetchLines(); } },
          element("img", { src: photo.small, alt: photo.alt, loading: "lazy" }))));
    }
    [...strip.children].forEach((button, number) => {
      button.setAttribute("aria-pressed", String(number === state[name]));
      button.querySelector(".mark")?.remove();
      const own = state.apart[photos[number].item];
      if (own) button.append(element("span", { className: "mark" }, ANSWERS.find(([, answer]) => answer === own)[2]));
    });
    const chosen = strip.children[state[name]];
    if (chosen) strip.scrollLeft = chosen.offsetLeft - strip.offsetLeft - strip.clientWidth / 2;
  }

  function tell(text, bad = false) { said.textContent = text; said.classList.toggle("bad", bad); }

  function showHelp(open) {
    help.hidden = !open;
    if (open) help.querySelector("button").focus(); else body.querySelector("[data-answer]").focus({ focusVisible: false });
  }

  function onKey(event) {
    if (!body.isConnected) return document.removeEventListener("keydown", onKey);
    if (event.ctrlKey || event.metaKey) return;
    const target = event.composedPath()[0];
    if (event.key === "Escape") { if (!help.hidden) showHelp(false); if (target === note) note.blur(); return; }
    if (!help.hidden && event.key !== "?") return;
    if (target === note && event.key === "Enter") { event.preventDefault(); return note.blur(); }
    if (target.matches?.("input, textarea, select, [contenteditable=true]")) return;
    const answer = ANSWERS.find(([key]) => key === event.key);
    const shift = event.shiftKey;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const acts = { x: setApart, l: toggleLines, b: toggleBox, k: skip, u: undo, n: () => note.focus(),
                   "?": () => showHelp(help.hidden), "+": () => zoom(1), "=": () => zoom(1), "-": () => zoom(-1), 0: () => zoom(0) };
    if (event.repeat && (answer || ["k", "u"].includes(event.key))) return event.preventDefault();
    if (answer) choose(answer[1]);
    else if (steps && shift) pan(-0.08 * steps[0], -0.08 * steps[1]);
    else if (steps && steps[0] && state.task) walk(event.altKey ? 0 : 1, steps[0]);
    else if (acts[event.key] && (state.task || "u?".includes(event.key))) acts[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  document.addEventListener("keydown", onKey);
  load();
  return () => { document.removeEventListener("keydown", onKey); clearTimeout(state.retry); };
}

const living = new WeakMap();

export default function ({ parentElement }) {
  const root = parentElement.querySelector(".mount");
  if (!living.has(root)) living.set(root, viewer(root));
  return () => { const end = living.get(root); if (end && !root.isConnected) { end(); living.delete(root); } };
}
