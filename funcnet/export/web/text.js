"use strict";
// Text: tokens of what is written, the next one's probabilities, one drawn from them, again.

const SHOWN = 8;
const text = { known: new Map(), writing: false, asked: 0 };

function encoded(words) {
  // the longest piece of the vocabulary first; for characters, that is the character
  const tokens = [], unknown = new Set();
  for (let at = 0; at < words.length; ) {
    let length = Math.min(text.longest, words.length - at);
    while (length > 0 && !text.known.has(words.slice(at, at + length))) length--;
    if (length) tokens.push(text.known.get(words.slice(at, at + length)));
    else unknown.add(String.fromCodePoint(words.codePointAt(at)));
    at += length || String.fromCodePoint(words.codePointAt(at)).length;
  }
  return { tokens, unknown: [...unknown] };
}

async function logitsAfter(tokens) {
  // of the next token, after the last ones that the model can look back on
  const seen = tokens.slice(-settings.context);
  if (!seen.length) throw new Error("a beginning of one character at least is needed");
  const filled = settings.fixed ? [...seen, ...new Array(settings.context - seen.length).fill(0)] : seen;
  const { outputs, milliseconds } = await run(tensorOf(filled, [1, filled.length]));
  const all = outputs[settings.output.name].data, count = settings.vocabulary.length;
  const logits = Array.from(all.subarray((seen.length - 1) * count, seen.length * count));
  if (!logits.every(Number.isFinite)) throw new Error("the network's answer is not a number");
  return { logits, milliseconds };
}

function randomNumbers(seed) {
  // splitmix32: small, and the same in all browsers
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 4294967296;
  };
}

function ranked(values) {
  return [...values.keys()].sort((a, b) => values[b] - values[a]);
}

function draw(logits, temperature, likeliest, random) {
  const order = ranked(logits).slice(0, likeliest);
  if (temperature === 0) return order[0];
  const shares = softmax(order.map((i) => logits[i]), temperature);
  let left = random();
  for (let i = 0; i < order.length; i++) if ((left -= shares[i]) < 0) return order[i];
  return order[0];
}

function named(token) {
  const names = { "\n": "⏎", " ": "␣", "\t": "⇥" };
  return names[settings.vocabulary[token]] ?? settings.vocabulary[token];
}

function showNext(logits) {
  const shares = softmax(logits);
  const order = ranked(shares);
  [...$("bars").children].forEach((item, i) => setBar(item, named(order[i]), shares[order[i]], i === 0));
}

async function previewNext() {
  const asked = ++text.asked;
  const { tokens, unknown } = encoded($("prompt").value);
  $("unknown").textContent = unknown.length ? `The network does not know ${unknown.join(" ")}: left out.` : "";
  $("start").disabled = !tokens.length || text.writing;
  if (!tokens.length || text.writing) return;
  try {
    const { logits } = await logitsAfter(tokens);
    if (asked === text.asked) showNext(logits);
  } catch (error) {
    tell(error, "The network did not answer");
  }
}

async function write(beginning, { length, temperature, likeliest, seed }, onToken = () => {}) {
  const { tokens } = encoded(beginning);
  const random = randomNumbers(seed);
  for (let i = 0; i < length && text.writing; i++) {
    const { logits } = await logitsAfter(tokens);
    const token = draw(logits, temperature, likeliest, random);
    tokens.push(token);
    onToken(token, logits, i + 1);
    if (i % 4 === 3) await new Promise((resume) => setTimeout(resume)); // let the page answer
  }
  return tokens.map((token) => settings.vocabulary[token]).join("");
}

function chosen() {
  const [length, temperature, likeliest, seed] = ["length", "temperature", "likeliest", "seed"].map((id) => Number($(id).value));
  return { length, temperature, likeliest, seed };
}

async function start() {
  const beginning = $("prompt").value;
  const given = document.createElement("span");
  given.className = "given";
  given.textContent = encoded(beginning).tokens.map((token) => settings.vocabulary[token]).join("");
  const added = document.createElement("span");
  $("written").replaceChildren(given, added);
  $("problem").hidden = true;
  setWriting(true);
  const began = performance.now();
  try {
    await write(beginning, chosen(), (token, logits, count) => {
      added.append(settings.vocabulary[token]);
      $("written").scrollTop = $("written").scrollHeight;
      $("speed").textContent = `${Math.round((1000 * count) / (performance.now() - began))} characters a second`;
      showNext(logits);
    });
    const { tokens } = encoded($("written").textContent);
    showNext((await logitsAfter(tokens)).logits);
  } catch (error) {
    tell(error, "The network stopped");
  }
  setWriting(false);
}

function setWriting(writing) {
  text.writing = writing;
  $("stop").disabled = !writing;
  $("start").disabled = writing;
  $("written").setAttribute("aria-busy", String(writing));
  document.body.dataset.writing = String(writing);
}

function showChoices() {
  const { length, temperature, likeliest } = chosen();
  const all = settings.vocabulary.length;
  $("length-shown").textContent = length;
  $("temperature-shown").textContent = temperature ? temperature.toFixed(2) : "0: always the likeliest";
  $("likeliest-shown").textContent = likeliest === all ? `${all}: all` : likeliest;
}

(async () => {
  settings.vocabulary.forEach((piece, token) => text.known.set(piece, token));
  text.longest = Math.max(...settings.vocabulary.map((piece) => piece.length));
  $("prompt").value = settings.prompt;
  $("likeliest").max = $("likeliest").value = settings.vocabulary.length;
  makeBars($("bars"), Math.min(SHOWN, settings.vocabulary.length));
  document.querySelector("main").classList.add("text");
  showChoices();
  for (const id of ["length", "temperature", "likeliest"]) $(id).oninput = showChoices;
  $("prompt").oninput = previewNext;
  $("start").onclick = start;
  $("stop").onclick = () => { text.writing = false; };
  $("start").disabled = true;
  try {
    await startEngine();
    await logitsAfter([0]);
    showReady();
    await previewNext();
  } catch (error) {
    tell(error, "The model could not be started");
  }
})();

window.funcnet = {
  logitsAfter,
  encoded,
  write: async (beginning, options) => { text.writing = true; try { return await write(beginning, options); } finally { text.writing = false; } },
};
