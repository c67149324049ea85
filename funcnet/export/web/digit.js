"use strict";
// A drawn digit: strokes, the 28 x 28 pixels that MNIST would have made of them, the answer.

const SIDE = 28;
const BOX = 20; // MNIST's digits fill 20 pixels, and their centre of mass lies in the middle
const drawing = { strokes: [], current: null, pixels: null, asked: 0 };

function context(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true });
}

function trace(surface, strokes, scale, colour) {
  surface.lineCap = surface.lineJoin = "round";
  surface.strokeStyle = surface.fillStyle = colour;
  surface.lineWidth = 0.075 * scale;
  for (const points of strokes) {
    surface.beginPath();
    surface.moveTo(points[0][0] * scale, points[0][1] * scale);
    if (points.length === 1) surface.lineTo(points[0][0] * scale + 0.01, points[0][1] * scale);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i], [u, v] = points[i + 1];
      surface.quadraticCurveTo(x * scale, y * scale, ((x + u) / 2) * scale, ((y + v) / 2) * scale);
    }
    if (points.length > 1) surface.lineTo(points.at(-1)[0] * scale, points.at(-1)[1] * scale);
    surface.stroke();
  }
}

function inkOf(strokes) {
  // how much ink there is at each place of a 280 x 280 sheet
  const size = 280;
  const sheet = document.createElement("canvas");
  sheet.width = sheet.height = size;
  const surface = context(sheet);
  trace(surface, strokes, size, "#000");
  const bytes = surface.getImageData(0, 0, size, size).data;
  return { size, ink: Float64Array.from({ length: size * size }, (_, i) => bytes[4 * i + 3] / 255) };
}

function bounds({ size, ink }) {
  let [left, top, right, bottom] = [size, size, -1, -1];
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      if (ink[y * size + x] > 0.05) {
        left = Math.min(left, x); right = Math.max(right, x);
        top = Math.min(top, y); bottom = Math.max(bottom, y);
      }
  return right < 0 ? null : { left, top, right: right + 1, bottom: bottom + 1 };
}

function centred(sheet) {
  // scaled so that the longer side has 20 pixels, by areas; moved so that the centre of mass is in the middle
  const box = bounds(sheet);
  if (!box) return null;
  const { size, ink } = sheet;
  let mass = 0, atX = 0, atY = 0;
  for (let y = box.top; y < box.bottom; y++)
    for (let x = box.left; x < box.right; x++) {
      const here = ink[y * size + x];
      mass += here; atX += here * (x + 0.5); atY += here * (y + 0.5);
    }
  const scale = BOX / Math.max(box.right - box.left, box.bottom - box.top, size / 10);
  const moveX = Math.round(SIDE / 2 - (atX / mass - box.left) * scale);
  const moveY = Math.round(SIDE / 2 - (atY / mass - box.top) * scale);
  const pixels = new Float64Array(SIDE * SIDE);
  for (let y = box.top; y < box.bottom; y++)
    for (let x = box.left; x < box.right; x++)
      spread(pixels, ink[y * size + x], (x - box.left) * scale + moveX, (y - box.top) * scale + moveY, scale);
  return pixels.map((each) => Math.min(1, each));
}

function spread(pixels, ink, x, y, side) {
  // a small square of ink, shared out among the pixels that it covers
  if (!ink) return;
  for (let row = Math.floor(y); row < y + side; row++)
    for (let column = Math.floor(x); column < x + side; column++) {
      const wide = Math.min(column + 1, x + side) - Math.max(column, x);
      const high = Math.min(row + 1, y + side) - Math.max(row, y);
      if (wide > 0 && high > 0 && row >= 0 && row < SIDE && column >= 0 && column < SIDE)
        pixels[row * SIDE + column] += ink * wide * high;
    }
}

async function predict(pixels) {
  // pixels: 784 numbers from 0 (paper) to 1 (ink)
  const [paper, full] = settings.pixels;
  const values = Array.from(pixels, (each) => paper + each * (full - paper));
  const { outputs, milliseconds } = await run(tensorOf(values, settings.input.shape));
  const logits = Array.from(outputs[settings.output.name].data);
  const probabilities = settings.output.kind === "logits" ? softmax(logits) : logits;
  const wrong = probabilities.some((each) => !Number.isFinite(each));
  if (wrong) throw new Error("the network's answer is not a number");
  const side = Math.sign(full - paper); // the gradient is that of the number that the network gets
  const moved = settings.moved ? Array.from(outputs[settings.moved].data, (each) => side * each) : null;
  return { logits, probabilities, moved, milliseconds };
}

function paint(canvas, colourAt) {
  const surface = context(canvas);
  const image = surface.createImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) image.data.set(colourAt(i), 4 * i);
  surface.putImageData(image, 0, 0);
}

function colour(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
}

function paintInk(canvas, pixels) {
  const stroke = colour("--stroke");
  paint(canvas, (i) => [...stroke, 255 * (pixels ? pixels[i] : 0)]);
}

function paintMoved(pixels, moved) {
  const [good, bad, ink] = [colour("--for"), colour("--against"), colour("--stroke")];
  const largest = Math.max(...moved.map(Math.abs), 1e-30);
  paint($("moved"), (i) => {
    const strength = Math.abs(moved[i]) / largest;
    const under = 0.22 * pixels[i]; // the drawing shows through
    const over = strength ** 0.8;
    const own = moved[i] > 0 ? good : bad;
    const alpha = over + under * (1 - over);
    return [...own.map((c, k) => (c * over + ink[k] * under * (1 - over)) / (alpha || 1)), 255 * alpha];
  });
}

function showNothing() {
  $("winner").textContent = "–";
  $("winner").removeAttribute("data-value");
  $("said").textContent = "Nothing is drawn yet.";
  [...$("bars").children].forEach((item, i) => setBar(item, settings.labels[i], 0, false));
  paintInk($("seen"), null);
  paintInk($("moved"), null);
}

function showAnswer(pixels, { probabilities, moved, milliseconds }) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  const label = settings.labels[best];
  $("winner").textContent = label;
  $("winner").dataset.value = label;
  const sure = document.createElement("strong");
  sure.textContent = `${label}, with ${percent(probabilities[best]).replace(">\u202f", "more than ")}`;
  const doubt = probabilities[best] < 0.9 ? ` It might be ${settings.labels[order[1]]} as well.` : "";
  const time = milliseconds < 0.1 ? "under 0.1" : milliseconds.toFixed(1);
  $("said").replaceChildren(sure, `.${doubt} Computed in ${time} ms.`);
  [...$("bars").children].forEach((item, i) => setBar(item, settings.labels[i], probabilities[i], i === best));
  paintInk($("seen"), pixels);
  if (moved) paintMoved(pixels, moved);
}

async function answer(pixels) {
  const asked = ++drawing.asked;
  drawing.pixels = pixels;
  if (!pixels) return showNothing();
  if (!engine.session) return;
  try {
    const found = await predict(pixels);
    if (asked === drawing.asked) showAnswer(pixels, found);
    return found;
  } catch (error) {
    tell(error, "The network did not answer");
  }
}

function redraw() {
  const pad = $("pad"), surface = context(pad);
  surface.clearRect(0, 0, pad.width, pad.height);
  trace(surface, drawing.strokes, pad.width, getComputedStyle(document.documentElement).getPropertyValue("--stroke"));
  $("hint").hidden = drawing.strokes.length > 0 || drawing.shown;
  $("undo").disabled = !drawing.strokes.length;
}

function changed() {
  redraw();
  return answer(drawing.strokes.length ? centred(inkOf(drawing.strokes)) : null);
}

function clearPad() {
  drawing.strokes = [];
  drawing.current = null;
  drawing.shown = false;
  return changed();
}

function showPixels(pixels) {
  // a sample fills the sheet as it is
  clearPad();
  drawing.shown = true;
  redraw();
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;
  paintInk(small, pixels);
  const surface = context($("pad"));
  surface.imageSmoothingEnabled = false;
  surface.drawImage(small, 0, 0, $("pad").width, $("pad").height);
  return answer(pixels);
}

function listenToPad() {
  const pad = $("pad");
  const at = (event) => {
    const box = pad.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (drawing.shown) clearPad();
    try { pad.setPointerCapture(event.pointerId); } catch { /* an event that was made up has no pointer */ }
    drawing.current = [at(event)];
    drawing.strokes.push(drawing.current);
    redraw();
    event.preventDefault();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!drawing.current) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const each of events.length ? events : [event]) drawing.current.push(at(each));
    redraw();
    if (!drawing.waiting) {
      drawing.waiting = true;
      requestAnimationFrame(async () => { await changed(); drawing.waiting = false; });
    }
  });
  for (const name of ["pointerup", "pointercancel"])
    pad.addEventListener(name, () => {
      if (drawing.current) { drawing.current = null; changed(); }
    });
  const undo = () => { drawing.strokes.pop(); changed(); };
  $("clear").onclick = clearPad;
  $("undo").onclick = undo;
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT") return;
    if (event.key === "Delete" || event.key === "Backspace") clearPad();
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && drawing.strokes.length) undo();
  });
}

async function offerSamples() {
  if (!packed.samples) return;
  const bytes = await unpacked(packed.samples);
  for (let start = 0, number = 0; start < bytes.length; start += SIDE * SIDE, number++) {
    const pixels = Float64Array.from(bytes.subarray(start, start + SIDE * SIDE), (each) => each / 255);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    canvas.className = "pixels";
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Sample ${number + 1}`);
    button.onclick = () => showPixels(pixels);
    button.append(canvas);
    button.repaint = () => paintInk(canvas, pixels);
    button.repaint();
    const item = document.createElement("li");
    item.append(button);
    $("samples").append(item);
  }
  $("sample-block").hidden = false;
}

function repaint() {
  document.querySelectorAll(".samples button").forEach((each) => each.repaint());
  const { pixels, shown } = drawing;
  return shown ? showPixels(pixels) : changed();
}

(async () => {
  $("moved-block").hidden = !settings.moved;
  makeBars($("bars"), settings.labels.length);
  showNothing();
  listenToPad();
  redraw();
  try {
    await offerSamples();
    await startEngine();
    await predict(new Float64Array(SIDE * SIDE)); // the first call prepares; the time shown later is that of the model
    showReady();
    await changed();
  } catch (error) {
    return tell(error, "The model could not be started");
  }
  document.addEventListener("engine", repaint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
})();

window.funcnet = { predict, showPixels, clear: clearPad, centred: () => drawing.pixels };
