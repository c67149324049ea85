"use strict";
// What all pages share: the runtime, the model, problems in words. `settings` and `packed` are written before this.

const $ = (id) => document.getElementById(id);

function tell(error, doing) {
  const text = error && error.message ? error.message : String(error);
  $("problem").textContent = `${doing}: ${text}`;
  $("problem").hidden = false;
  document.body.dataset.state = "failed";
  console.error(error);
}

async function unpacked(text) {
  const zipped = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  if (typeof DecompressionStream === "undefined")
    throw new Error("this browser is too old: it needs DecompressionStream (Chrome 80, Firefox 113, Safari 16.4)");
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const engine = { runtime: null, model: null, session: null, name: "", running: Promise.resolve() };

async function loadRuntime() {
  if (typeof packed.wasm === "undefined") throw new Error("the file runtime.js is not beside this page");
  const [code, wasm] = await Promise.all([unpacked(packed.code), unpacked(packed.wasm)]);
  packed.code = packed.wasm = "";
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const runtime = await import(url);
  URL.revokeObjectURL(url);
  runtime.env.wasm.wasmBinary = wasm.buffer;
  runtime.env.wasm.numThreads = 1; // threads need headers that a file has not
  runtime.env.logLevel = "error";
  return runtime;
}

async function hasGpu() {
  if (!settings.webgpu || !navigator.gpu) return false;
  try {
    return Boolean(await navigator.gpu.requestAdapter());
  } catch {
    return false;
  }
}

async function openSession(name) {
  // a run that has begun ends first
  await engine.running.catch(() => {});
  if (engine.session) await engine.session.release();
  engine.session = await engine.runtime.InferenceSession.create(engine.model, {
    executionProviders: [name],
    logSeverityLevel: 3, // errors: a warning of what runs where is no news to a visitor
  });
  engine.name = name;
}

async function startEngine() {
  const [runtime, model, gpu] = await Promise.all([loadRuntime(), unpacked(packed.model), hasGpu()]);
  packed.model = "";
  engine.runtime = runtime;
  engine.model = model;
  const names = gpu ? ["webgpu", "wasm"] : ["wasm"];
  for (const name of [...names]) {
    try {
      await openSession(name);
      break;
    } catch (error) {
      if (name === "wasm") throw error;
      console.warn("WebGPU does not run this model, WebAssembly will", error);
      names.shift();
    }
  }
  offerEngines(names);
}

const ENGINE_NAMES = { wasm: "the processor (WebAssembly)", webgpu: "the graphics card (WebGPU)" };

function offerEngines(names) {
  const select = $("engine");
  for (const name of names) select.add(new Option(ENGINE_NAMES[name], name));
  $("engines").hidden = names.length < 2;
  select.onchange = async () => {
    try {
      await openSession(select.value);
      showReady();
      document.dispatchEvent(new Event("engine"));
    } catch (error) {
      tell(error, "The model does not run there");
    }
  };
}

function showReady() {
  $("status").textContent = `Ready. ${(settings.bytes / 1e6).toFixed(settings.bytes < 1e6 ? 2 : 1)} MB of model` +
    ($("engines").hidden ? `, run by ${ENGINE_NAMES[engine.name]}.` : ".");
  document.body.dataset.state = "ready";
}

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array, int64: BigInt64Array };

function tensorOf(values, shape) {
  const { dtype } = settings.input;
  const data = dtype === "int64" ? BigInt64Array.from(values, BigInt) : ARRAYS[dtype].from(values);
  return new engine.runtime.Tensor(dtype, data, shape);
}

function run(tensor) {
  // one at a time: a session is not called twice at once
  const turn = engine.running.catch(() => {}).then(async () => {
    const began = performance.now();
    const outputs = await engine.session.run({ [settings.input.name]: tensor });
    return { outputs, milliseconds: performance.now() - began };
  });
  engine.running = turn;
  return turn;
}

function softmax(logits, temperature = 1) {
  let largest = -Infinity;
  for (const each of logits) if (each > largest) largest = each;
  const powers = Array.from(logits, (each) => Math.exp((each - largest) / temperature));
  const total = powers.reduce((sum, each) => sum + each, 0);
  return powers.map((each) => each / total);
}

function percent(share) {
  return share > 0.9995 && share < 1 ? ">\u202f99.9\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`;
}

function makeBars(list, count) {
  list.replaceChildren();
  for (let i = 0; i < count; i++) {
    const item = document.createElement("li");
    for (const part of ["name", "track", "share"]) {
      const span = document.createElement("span");
      span.className = part;
      item.append(span);
    }
    const fill = document.createElement("span");
    fill.className = "fill";
    item.children[1].append(fill);
    item.children[1].setAttribute("aria-hidden", "true");
    list.append(item);
  }
}

function setBar(item, name, share, best) {
  item.classList.toggle("best", best);
  item.children[0].textContent = name;
  item.children[1].firstChild.style.width = `${100 * share}%`;
  item.children[2].textContent = percent(share);
  item.dataset.share = String(share);
}
