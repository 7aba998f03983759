"use strict";

// Strokes are lists of points on a paper of 384 x 384; they are drawn black on white and sent as a
// PNG while one writes: at most one question of a kind at a time, the newest one last. The service
// is told to keep none: most are half written, and nobody here was asked.

const PEN = 14;
const PAUSE_MS = 120;
const TOP = 5;

const paper = document.getElementById("paper");
const pen = paper.getContext("2d");
const strokes = [];
const active = new Map(); // pointer -> its stroke: fingers may write at once

let wanted = false; // something changed since the last question
let asking = false;
let timer = 0;
let turn = 0; // counts clears: an answer to what was cleared is not shown
let unseen = null; // the newest drawing whose nearest glyphs were not asked for yet
let seeking = false; // are glyphs being asked for?

function at(event) {
  const box = paper.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * paper.width) / box.width,
    ((event.clientY - box.top) * paper.height) / box.height,
  ];
}

function drawStroke(points) {
  pen.lineWidth = PEN;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = "#000";
  pen.beginPath();
  pen.moveTo(points[0][0], points[0][1]);
  // through the middles of neighbours: round like a hand, not cornered like a mouse
  for (let i = 1; i < points.length - 1; i++) {
    const [x, y] = points[i];
    const [nx, ny] = points[i + 1];
    pen.quadraticCurveTo(x, y, (x + nx) / 2, (y + ny) / 2);
  }
  const [x, y] = points[points.length - 1];
  pen.lineTo(x + 0.01, y); // a dot is a stroke too
  pen.stroke();
}

function redraw() {
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, paper.width, paper.height);
  strokes.forEach(drawStroke);
  const empty = strokes.length === 0;
  document.getElementById("undo").disabled = empty;
  document.getElementById("clear").disabled = empty;
}

function changed() {
  redraw();
  wanted = true;
  if (!timer && !asking) timer = setTimeout(ask, PAUSE_MS);
}

paper.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  paper.setPointerCapture(event.pointerId);
  const stroke = [at(event)];
  active.set(event.pointerId, stroke);
  strokes.push(stroke);
  changed();
});

paper.addEventListener("pointermove", (event) => {
  const stroke = active.get(event.pointerId);
  if (!stroke) return;
  event.preventDefault();
  const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const move of moves.length ? moves : [event]) stroke.push(at(move));
  changed();
});

for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
  paper.addEventListener(name, (event) => active.delete(event.pointerId));
}

document.getElementById("undo").addEventListener("click", () => {
  const gone = strokes.pop();
  for (const [pointer, stroke] of active) {
    if (stroke === gone) active.delete(pointer); // what its pointer still draws is not wanted
  }
  if (strokes.length) changed();
  else clearAll();
});

document.getElementById("clear").addEventListener("click", clearAll);

function clearAll() {
  strokes.length = 0;
  active.clear();
  turn += 1;
  wanted = false;
  redraw();
  showNothing();
}

async function send(path, blob) {
  const form = new FormData();
  form.append("image", blob, "drawing.png");
  form.append("top", String(TOP));
  form.append("keep", "false");
  const response = await fetch(path, { method: "POST", body: form });
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.error), { status: response.status });
  return { status: response.status, ...body };
}

async function ask() {
  timer = 0;
  if (!wanted) return;
  wanted = false;
  asking = true;
  const mine = turn;
  let again = 0; // ms until the same question is asked once more
  try {
    const blob = await new Promise((done) => paper.toBlob(done, "image/png"));
    const answered = send("/v1/predict", blob);
    unseen = { blob, mine };
    if (!seeking) seek(); // at its own pace: the answer does not wait for it
    const answer = await answered;
    if (mine === turn) {
      show(answer.predictions[0]);
      note("");
    }
  } catch (error) {
    if (mine === turn) {
      showNoAnswer("no answer"); // the old one is of another drawing
      note(`no answer: ${error.message}`);
      if (error.status === 503) again = 1000;
    }
  } finally {
    asking = false;
    if (again && mine === turn) wanted = true;
    if (wanted) timer = setTimeout(ask, again || PAUSE_MS);
  }
}

// The nearest glyphs, of the newest drawing each time.
async function seek() {
  seeking = true;
  while (unseen) {
    const asked = unseen;
    unseen = null;
    if (asked.mine !== turn) continue;
    let again = 0; // ms until the same question is asked once more
    try {
      const near = await send("/v1/nearest", asked.blob);
      if (asked.mine === turn) showGlyphs(near.glyphs);
      if (near.status === 202) again = 500; // the glyphs are being drawn
    } catch (error) {
      if (asked.mine === turn) showGlyphs([]);
      if (error.status === 503) again = 1000;
    }
    if (again) {
      await new Promise((done) => setTimeout(done, again));
      unseen = unseen || asked;
    }
  }
  seeking = false;
}

function percent(p) {
  return `${(100 * p).toFixed(1)} %`;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function show(prediction) {
  const isOther = prediction.label === "other";
  const answer = document.getElementById("answer");
  answer.dataset.state = isOther ? "other" : "known";
  document.getElementById("label").textContent = prediction.label;
  document.getElementById("verdict").textContent = isOther
    ? "none of the characters I know"
    : `${percent(prediction.confidence)} sure`;
  const rows = prediction.top.map(({ char, confidence }) => {
    const row = element("li", "row");
    const bar = element("span", "bar");
    const fill = element("span", "");
    fill.style.width = `${100 * confidence}%`;
    bar.append(fill);
    row.append(element("span", "name", char), bar, element("span", "value", percent(confidence)));
    return row;
  });
  document.getElementById("top").replaceChildren(...rows);
  document.getElementById("other-bar").style.width = `${100 * prediction.other}%`;
  document.getElementById("other-score").textContent = percent(prediction.other);
}

function showGlyphs(glyphs) {
  const items = glyphs.map(({ char, font, likeness, png }) => {
    const item = element("li", "");
    const picture = element("img", "");
    picture.src = `data:image/png;base64,${png}`;
    picture.alt = char;
    picture.title = `${char} in ${font}, likeness ${likeness.toFixed(2)}`;
    item.append(picture, element("div", "", `${char} ${likeness.toFixed(2)}`));
    return item;
  });
  document.getElementById("glyphs").replaceChildren(...items);
}

function showNothing() {
  showNoAnswer("nothing written yet");
  showGlyphs([]);
  note("");
}

function showNoAnswer(verdict) {
  document.getElementById("answer").dataset.state = "empty";
  document.getElementById("label").textContent = "\u00a0";
  document.getElementById("verdict").textContent = verdict;
  document.getElementById("top").replaceChildren();
  document.getElementById("other-bar").style.width = "0";
  document.getElementById("other-score").textContent = "";
}

function note(text) {
  document.getElementById("note").textContent = text;
}

// Fonts for labels that this machine may have none for; the server cuts them when first asked.
async function loadLabels() {
  const response = await fetch("/labels.css").catch(() => null);
  if (response?.status === 202) setTimeout(loadLabels, 500);
  if (response?.status !== 200) return;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(await response.text());
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}

loadLabels();

redraw();
