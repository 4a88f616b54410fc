// The page itself: what is shown, what the keys do.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const { tracks, items } = data;
const key = (item) => [tracks[item.track].name, tracks[item.track].label, item.on, item.off].join("|");
const marks = new Marks(`fiveshot:${data.id}`, items, key);
const labels = [...new Set(tracks.map((track) => track.label))];
const state = { current: null, shown: [], drawn: 0, track: 0, view: [0, 1] };
const PAGE = 120; // events of the list drawn at once
const LEARN = 30; // events to learn from that are shown

items.forEach((item, number) => { item.number = number; });
for (const track of tracks) {
  track.points = Uint8Array.from(atob(track.curve), (letter) => letter.charCodeAt(0));
  if (track.image) {
    track.bitmap = new Image();
    track.bitmap.onload = () => { if (tracks[state.track] === track) drawTrack(); };
  }
}

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const ofLabel = () => items.filter((item) => tracks[item.track].label === labels[+byId("label").value]);
const level = () => +byId("threshold").value;
// What counts as the list of which precision is asked: near misses are none of it before they are shown.
const listed = (item) => item.kind === "detected" && item.conf >= level() - 1e-9;
const answerOf = (item) => ({ yes: true, no: false })[marks.of(item)] ?? null;
const sampled = (item) => ({ ...item, answer: item.place >= 0 ? answerOf(item) : null });

function chosen() {
  const which = byId("which").value, name = byId("recording").value, near = byId("near").checked;
  return ofLabel().filter((item) => {
    if (name && tracks[item.track].name !== name) return false;
    if (which === "learn") return item.kind !== "missed";
    if (item.kind === "near miss") return near && which !== "sample" && which !== "missed" && (which !== "marked" || marks.of(item));
    if (item.kind === "missed") return which === "missed" || which === "all";
    if (!listed(item) || which === "missed") return false;
    if (which === "sample") return item.place >= 0;
    if (which === "wrong") return item.verdict === "false positive";
    return which === "all" || marks.of(item) !== "";
  });
}

function ordered(list) {
  const time = (a, b) => a.track - b.track || a.on - b.on;
  const order = byId("order").value;
  if (byId("which").value === "learn") return list.sort((a, b) => a.learn - b.learn).slice(0, LEARN);
  const rank = { missed: 0, detected: 1, "near miss": 2 };
  if (order === "time") return list.sort(time);
  if (order === "conf") return list.sort((a, b) => (b.conf ?? 2) - (a.conf ?? 2) || time(a, b));
  return list.sort((a, b) => rank[a.kind] - rank[b.kind] || (a.place < 0) - (b.place < 0) || a.place - b.place || time(a, b));
}

// The picture of an event with its axes and a box around what fired.
function fillPicture(box, item, large) {
  box.replaceChildren();
  const source = byId(`p${item.number}`);
  if (!item.view || !source) {
    box.append(element("span", { className: "none", textContent: "no picture of this one" }));
    return;
  }
  const [t0, t1, f0, f1] = item.view;
  box.append(element("img", { src: `data:image/jpeg;base64,${source.textContent}`, alt: `Spectrogram from ${clock(t0)} to ${clock(t1)}` }));
  const fired = element("span", { className: "fired" });
  const share = (value, low, high) => Math.min(Math.max((value - low) / (high - low), 0), 1) * 100;
  fired.style.left = `${share(item.on, t0, t1)}%`;
  fired.style.right = `${100 - share(item.off, t0, t1)}%`;
  fired.style.bottom = `${share(item.band[0], f0, f1)}%`;
  fired.style.top = `${100 - share(item.band[1], f0, f1)}%`;
  box.append(fired);
  for (const part of large ? [0.25, 0.5, 0.75, 1] : [1]) {
    const hz = element("span", { className: "hz", textContent: `${+((f0 + part * (f1 - f0)) / 1000).toFixed(1)} kHz` });
    hz.style.top = part === 1 ? "2px" : `calc(${(1 - part) * 100}% - 0.35rem)`;
    box.append(hz);
  }
  if (!large) return;
  const from = element("span", { className: "s", textContent: clock(t0, 2) });
  const to = element("span", { className: "s", textContent: clock(t1, 2) });
  from.style.left = "2px";
  to.style.right = "2px";
  box.append(from, to);
}

const confidence = (item) => (item.conf === null ? "not detected" : `confidence ${item.conf.toFixed(2)}`);

function when(item) {
  const start = tracks[item.track].start;
  if (!start) return "";
  // The recorder's own clock, whatever the zone of this browser.
  const base = Date.parse(`${start.slice(0, 19)}Z`);
  return new Date(base + item.on * 1000).toISOString().slice(0, 19).replace("T", " ");
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    fillPicture(entry.target, items[+entry.target.dataset.number], false);
    watcher.unobserve(entry.target);
  }
}, { rootMargin: "300px" });

function row(item) {
  const box = element("span", { className: "picture" });
  box.style.display = "block";
  box.dataset.number = item.number;
  watcher.observe(box);
  const mark = element("span");
  const button = element("button", { type: "button" }, box,
    element("span", { className: "line" }, element("span", { textContent: confidence(item) }), mark),
    element("span", { className: "where", textContent: `${tracks[item.track].name} ${clock(item.on)}` }));
  button.dataset.number = item.number;
  button.addEventListener("click", () => show(item, true));
  markRow(button, item);
  return element("li", {}, button);
}

function markRow(button, item) {
  const mark = button.querySelector(".line").lastChild, answer = marks.of(item);
  mark.className = answer ? `mark-${answer}` : "where";
  mark.textContent = answer || item.verdict || (item.kind === "near miss" ? "near miss" : "");
}

function drawMore() {
  const next = state.shown.slice(state.drawn, state.drawn + PAGE);
  byId("list").append(...next.map(row));
  state.drawn += next.length;
  byId("more").hidden = state.drawn >= state.shown.length;
}

function refresh() {
  state.shown = ordered(chosen());
  state.drawn = 0;
  watcher.disconnect();
  byId("list").replaceChildren();
  drawMore();
  const count = ofLabel().filter(listed).length;
  byId("level").textContent = level().toFixed(3);
  byId("shown").textContent = `${count} detection${count === 1 ? "" : "s"} at this confidence, ${state.shown.length} shown`;
  if (!state.shown.includes(state.current)) {
    const open = state.shown.find((item) => !marks.of(item)) || state.shown[0] || null;
    show(open, false);
  } else {
    highlight();
  }
  estimate();
  drawTrack();
}

function highlight() {
  for (const button of byId("list").querySelectorAll("button")) {
    const current = state.current && +button.dataset.number === state.current.number;
    button.setAttribute("aria-current", current ? "true" : "false");
  }
}

function show(item, play) {
  state.current = item;
  const audio = byId("audio"), source = item && byId(`s${item.number}`);
  audio.pause();
  audio.hidden = !source;
  for (const id of ["yes", "no", "unsure", "play"]) byId(id).disabled = !item || (id === "play" && !source);
  if (!item) {
    byId("card-title").textContent = "Nothing to show: choose another list, or lower the confidence.";
    byId("card-picture").replaceChildren();
    highlight();
    return;
  }
  const track = tracks[item.track], at = state.shown.indexOf(item) + 1;
  byId("card-title").textContent = [`${at} of ${state.shown.length}`, track.name, `${clock(item.on, 2)} to ${clock(item.off, 2)}`,
    confidence(item), when(item), item.verdict].filter(Boolean).join(" · ");
  fillPicture(byId("card-picture"), item, true);
  if (source) audio.src = `data:${item.mime};base64,${source.textContent}`; else audio.removeAttribute("src");
  byId("slowed").textContent = item.slowed > 1 ? `slowed ${item.slowed} times, as the call is too high to hear` : "";
  for (const button of document.querySelectorAll("[data-mark]")) {
    button.setAttribute("aria-pressed", String(button.dataset.mark === marks.of(item)));
  }
  highlight();
  if (state.track !== item.track) { selectTrack(item.track); }
  drawTrack();
  if (play && byId("autoplay").checked) start();
}

function start() {
  const audio = byId("audio");
  audio.playbackRate = +byId("speed").value;
  audio.preservesPitch = false;
  if (audio.paused) { audio.currentTime = 0; audio.play().catch(() => {}); } else { audio.pause(); }
}

function move(by) {
  const at = state.shown.indexOf(state.current) + by;
  if (at < 0 || at >= state.shown.length) return;
  while (at >= state.drawn) drawMore();
  show(state.shown[at], true);
  byId("list").querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" });
}

function answer(mark) {
  const item = state.current;
  if (!item) return;
  marks.set(item, mark);
  byId("said").textContent = mark;
  afterMark(item);
  const at = state.shown.indexOf(item);
  const open = state.shown.slice(at + 1).find((other) => !marks.of(other));
  if (open) { while (state.shown.indexOf(open) >= state.drawn) drawMore(); show(open, true); } else { show(item, false); }
}

function undo() {
  const item = marks.undo();
  if (!item) return;
  byId("said").textContent = "undone";
  afterMark(item);
  show(item, false);
}

function afterMark(item) {
  const button = byId("list").querySelector(`button[data-number="${item.number}"]`);
  if (button) markRow(button, item);
  estimate();
}

function estimate() {
  const events = ofLabel().filter((item) => item.kind === "detected").map(sampled);
  const drawn = events.filter((item) => item.place >= 0);
  const done = drawn.filter((item) => marks.of(item)).length;
  byId("progress").textContent = `${done} of ${drawn.length} of the sample answered.`;
  const result = precisionOf(events.filter(listed)), percent = (value) => `${Math.round(100 * value)}\u00a0%`;
  byId("precision").textContent = result ? percent(result.estimate) : "–";
  byId("interval").textContent = result
    ? `of the detections at or above confidence ${level().toFixed(2)} are right; 95\u00a0% interval ${percent(result.low)} to ${percent(result.high)}, from ${result.marked} answers${result.complete ? "" : ", not yet from the whole range"}.`
    : "Answer some of the sample with yes or no.";
  const range = byId("meter-range"), value = byId("meter-value");
  range.style.left = result ? `${100 * result.low}%` : "0";
  range.style.width = result ? `${100 * (result.high - result.low)}%` : "0";
  value.style.left = result ? `${100 * result.estimate}%` : "-1rem";
  const wanted = Math.min(Math.max(+byId("wanted").value || 0, 0), 100) / 100;
  const advice = events.length && result ? thresholdFor(events, wanted) : null;
  byId("advice").textContent = !result ? "" : advice
    ? `For ${percent(wanted)}: confidence ${advice.level.toFixed(3)} or more, estimated ${percent(advice.estimate)} (${percent(advice.low)} to ${percent(advice.high)}).`
    : `No confidence gives ${percent(wanted)} by these answers.`;
  byId("apply").hidden = !advice;
  byId("apply").dataset.level = advice ? advice.level : "";
}

function selectTrack(number) {
  state.track = number;
  byId("track").value = number;
  state.view = [0, tracks[number].duration];
  const track = tracks[number];
  if (track.bitmap && !track.bitmap.src) track.bitmap.src = `data:image/jpeg;base64,${track.image}`;
}

function drawTrack() {
  const track = tracks[state.track];
  if (!track) return;
  const spans = (kind) => items.filter((item) => item.track === state.track && kind(item)).map((item) => [item.on, item.off]);
  drawOverview(byId("overview"), track, state.view, [
    { name: "shot", spans: track.shots },
    { name: "truth", spans: track.truth },
    { name: "fired", spans: spans(listed) },
    { name: "near", spans: byId("near").checked ? spans((item) => item.kind === "near miss") : [] },
  ]);
}

function zoom(factor, centre = (state.view[0] + state.view[1]) / 2) {
  const { duration } = tracks[state.track];
  const span = Math.min(Math.max((state.view[1] - state.view[0]) * factor, 0.5), duration);
  const first = Math.min(Math.max(centre - span / 2, 0), duration - span);
  state.view = [first, first + span];
  drawTrack();
}

function pan(by) {
  const span = state.view[1] - state.view[0];
  zoom(1, (state.view[0] + state.view[1]) / 2 + by * span);
}

function exportMarks(form) {
  const starts = [];
  tracks.reduce((at, track, number) => { starts[number] = at; return at + track.duration; }, 0);
  let rows = items.filter((item) => marks.of(item));
  if (form === "audacity") rows = rows.filter((item) => tracks[item.track].name === tracks[state.track].name);
  rows = rows.sort((a, b) => a.track - b.track || a.on - b.on).map((item) => {
    const { file, label } = tracks[item.track];
    return { file, label, on: item.on, off: item.off, conf: item.conf ?? 0, answer: marks.of(item), start: starts[item.track],
      low: item.low ?? 0, high: item.high ?? item.view?.[3] ?? 0 };
  });
  const suffix = { csv: "marks.csv", raven: "marks.selections.txt", audacity: "marks.labels.txt" }[form];
  const name = form === "audacity" ? tracks[state.track].name.split("/").pop() : "all";
  byId("exported").textContent = rows.length ? `${rows.length} marks saved as ${name}.${suffix}.` : "There are no marks yet.";
  if (rows.length) save(`${name}.${suffix}`, FORMS[form](rows));
}

for (const id of ["label", "which", "recording", "order", "near"]) byId(id).addEventListener("change", refresh);
byId("label").addEventListener("change", () => { setRange(); refresh(); });
byId("threshold").addEventListener("input", refresh);
byId("wanted").addEventListener("input", estimate);
byId("more").addEventListener("click", drawMore);
byId("play").addEventListener("click", start);
byId("speed").addEventListener("change", () => { byId("audio").playbackRate = +byId("speed").value; });
for (const button of document.querySelectorAll("[data-mark]")) button.addEventListener("click", () => answer(button.dataset.mark));
byId("undo").addEventListener("click", undo);
byId("next").addEventListener("click", () => move(1));
byId("previous").addEventListener("click", () => move(-1));
byId("apply").addEventListener("click", () => { byId("threshold").value = Math.floor(byId("apply").dataset.level * 200) / 200; refresh(); });
byId("track").addEventListener("change", () => { selectTrack(+byId("track").value); drawTrack(); });
byId("zoom-in").addEventListener("click", () => zoom(0.5));
byId("zoom-out").addEventListener("click", () => zoom(2));
byId("left").addEventListener("click", () => pan(-0.5));
byId("right").addEventListener("click", () => pan(0.5));
byId("whole").addEventListener("click", () => zoom(Infinity));
for (const form of ["csv", "raven", "audacity"]) byId(`export-${form}`).addEventListener("click", () => exportMarks(form));
byId("clear").addEventListener("click", () => { if (confirm("Forget all marks of this report?")) { marks.clear(); refresh(); } });
byId("overview").addEventListener("click", (event) => {
  const box = byId("overview").getBoundingClientRect(), [first, end] = state.view;
  const time = first + ((event.clientX - box.left - 44) / (box.width - 50)) * (end - first);
  const near = state.shown.filter((item) => item.track === state.track);
  const distance = (item) => Math.max(item.on - time, time - item.off, 0);
  const best = near.sort((a, b) => distance(a) - distance(b))[0];
  if (best && distance(best) < (end - first) / 50) show(best, true);
});
byId("overview").addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return; // the wheel alone scrolls the page
  event.preventDefault();
  const box = byId("overview").getBoundingClientRect(), [first, end] = state.view;
  zoom(event.deltaY > 0 ? 1.25 : 0.8, first + ((event.clientX - box.left - 44) / (box.width - 50)) * (end - first));
}, { passive: false });

const KEYS = {
  y: () => answer("yes"), n: () => answer("no"), u: () => answer("unsure"), z: undo, Backspace: undo,
  j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1), " ": start,
  s: () => { byId("speed").value = byId("speed").value === "1" ? "0.25" : "1"; byId("audio").playbackRate = +byId("speed").value; },
  m: () => { byId("near").checked = !byId("near").checked; if (byId("which").value === "sample") byId("which").value = "all"; refresh(); },
  "+": () => zoom(0.5), "-": () => zoom(2),
};
document.addEventListener("keydown", (event) => {
  const field = event.target.closest("select, input, audio, summary");
  const pressed = event.target.closest("button, a") && (event.key === " " || event.key === "Enter");
  if (field || pressed || event.altKey || event.metaKey || (event.ctrlKey && event.key !== "z")) return;
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

function setRange() {
  const values = ofLabel().filter((item) => item.conf !== null && item.kind === "detected").map((item) => item.conf);
  const slider = byId("threshold"), lowest = values.length ? Math.min(...values) : 0;
  slider.min = Math.floor(lowest * 200) / 200;
  slider.value = slider.min;
}

byId("track").append(...tracks.map((track, number) =>
  element("option", { value: number, textContent: labels.length > 1 ? `${track.name}: ${track.label}` : track.name })));
for (const event of ["resize"]) addEventListener(event, () => { drawTrack(); drawScores(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawTrack(); drawScores(); });
function drawScores() { if (byId("curve")) drawCurve(byId("curve"), data.curve); }
if (items.some((item) => item.kind === "missed")) { byId("which").value = "all"; }
setRange();
if (tracks.length) selectTrack(0);
refresh();
drawScores();
