// Everything is here after one message; from then on the browser shows any moment by itself.
const INK = { pos: ["#0072B2", "#56B4E9"], neg: ["#D55E00", "#F08A3C"], up: [42, 159, 224], down: [213, 94, 0] }; // [on light, on dark]

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".replay");
  root.tell = (at) => setStateValue("at", at);
  const turn = (root.turn = (root.turn ?? 0) + 1);
  unpack(data).then((told) => turn === root.turn && show(root, told));
}

async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const open = (node) => {
    for (const [name, value] of Object.entries(node)) {
      if (value?.kind) {
        const size = value.shape.reduce((a, b) => a * b, 1);
        const array = new (value.kind === "i1" ? Int8Array : Uint8Array)(buffer, 4 + length + value.at, size);
        const each = size / value.shape[0];
        if (value.moments) for (let i = each; i < size; i++) array[i] += array[i - each]; // wraps as bytes do
        node[name] = { shape: value.shape, each, of: (moment) => array.subarray(moment * each, (moment + 1) * each) };
      } else if (value && typeof value === "object") open(value);
    }
  };
  open(told.runs);
  return told;
}

function show(root, told) {
  const find = (name) => root.querySelector(name);
  const old = root.state, names = Object.keys(told.axes);
  const same = old && old.name === told.start.name;
  const state = (root.state = same ? old : { name: told.start.name, axis: told.start.axis, speed: old?.speed ?? 1, layer: told.start.layer, at: null });
  if (!same) clearTimeout(old?.timer);
  const atEnd = same && state.at >= state.last;
  state.told = told;
  state.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!names.includes(state.axis)) state.axis = names[0];

  const axis = find(".axis");
  axis.replaceChildren(...names.map((name) => new Option(told.axes[name], name, false, name === state.axis)));
  find(".over").hidden = names.length < 2;
  axis.onchange = () => {
    const moments = told.runs.map((run, i) => momentOf(state, i));
    state.axis = axis.value;
    lay(root);
    const first = told.runs[0], at = state.axis === "epoch" ? first.epochs[moments[0]] : first.seconds[moments[0]];
    go(root, at ?? 0, true);
  };
  root.classList.toggle("race", told.runs.length > 1);
  name(root);
  find(".speed").onchange = ({ target }) => (state.speed = Number(target.value));
  find(".time").ariaLabel = "moment of training";
  find(".time").oninput = ({ target }) => { stop(root); go(root, fromSlider(state, target.value)); };
  find(".time").onchange = () => tell(root);
  find(".play").onclick = () => (state.timer ? stop(root, true) : play(root));
  for (const button of root.querySelectorAll(".step")) button.onclick = () => { stop(root); go(root, next(state, Number(button.dataset.step)), true); };

  const shape = JSON.stringify(told.runs.map((run) => [run.title, run.layers.map((layer) => Object.keys(layer)), Object.keys(run)]));
  if (root.shape !== shape) build(root, told);
  root.shape = shape;
  lay(root);
  marks(root);
  const asked = told.start.at;
  go(root, state.at === null ? (asked ?? state.last) : atEnd ? state.last : state.at);
  if (!same && told.start.play && !state.calm) play(root, true);
  root.watch ??= new ResizeObserver(() => draw(root));
  root.watch.observe(root);
}

// Time. On the axis of epochs a place is an epoch; on that of seconds it is a second of training, and lies between moments, too.

function lay(root) {
  const { state } = root, { runs } = state.told;
  const known = state.axis === "epoch" ? runs.flatMap((run) => run.epochs) : runs.flatMap((run) => run.seconds);
  state.stops = [...new Set(known.filter((v) => v !== null))].sort((a, b) => a - b);
  state.last = state.stops.at(-1) ?? 0;
  const slider = root.querySelector(".time");
  slider.max = state.axis === "epoch" ? state.stops.length - 1 : 1000;
}

const fromSlider = (state, value) => (state.axis === "epoch" ? state.stops[value] : (value / 1000) * state.last);
const toSlider = (state, at) => (state.axis === "epoch" ? state.stops.findLastIndex((s) => s <= at) : (1000 * at) / (state.last || 1));

function next(state, step) {
  const inside = state.stops.filter((s) => (step > 0 ? s > state.at + 1e-6 : s < state.at - 1e-6));
  return (step > 0 ? inside[0] : inside.at(-1)) ?? state.at;
}

function momentOf(state, i) {
  const run = state.told.runs[i], times = state.axis === "epoch" ? run.epochs : run.seconds;
  return Math.max(0, times.findLastIndex((t) => t !== null && t <= state.at + 1e-6));
}

function go(root, at, told = false) {
  const { state } = root;
  state.at = Math.min(Math.max(at, state.axis === "epoch" ? state.stops[0] : 0), state.last);
  const slider = root.querySelector(".time");
  slider.value = toSlider(state, state.at);
  slider.ariaValueText = state.axis === "epoch" ? `epoch ${state.at} of ${state.last}` : `${state.at.toFixed(1)} of ${state.last.toFixed(1)} seconds of training`;
  draw(root);
  if (told) tell(root);
}

function tell(root) { // where the reader stops goes into the address; not every moment that is passed
  clearTimeout(root.waits);
  root.waits = setTimeout(() => root.tell({ axis: root.state.axis, at: Math.round(root.state.at), layer: root.state.layer + 1 }), 400);
}

function play(root, fromStart = false) {
  const { state } = root;
  if (fromStart || state.at >= state.last) go(root, state.axis === "epoch" ? state.stops[0] : 0);
  root.querySelector(".now").setAttribute("aria-live", "off"); // not to be read out at every moment
  const smooth = state.axis === "second" && !state.calm;
  const pause = smooth ? 40 : Math.min(700, Math.max(state.calm ? 500 : 90, 8000 / state.stops.length));
  let before = performance.now();
  const tick = () => {
    const now = performance.now();
    if (!root.isConnected) return stop(root);
    go(root, smooth ? state.at + ((now - before) / 8000) * state.last * state.speed : next(state, 1));
    before = now;
    if (state.at >= state.last) stop(root, true);
    else state.timer = setTimeout(tick, smooth ? pause : pause / state.speed);
  };
  state.timer = setTimeout(tick, pause);
  name(root);
}

function stop(root, told = false) {
  const { state } = root;
  clearTimeout(state.timer);
  state.timer = null;
  root.querySelector(".now").setAttribute("aria-live", "polite");
  name(root);
  if (told) {
    draw(root);
    tell(root);
  }
}

const name = (root) => (root.querySelector(".play").textContent = root.state.timer ? "❚❚ Pause" : "▶ Play");

function marks(root) {
  const { state } = root, { runs, colours } = state.told, place = (run, mark) => (state.axis === "epoch" ? run.epochs : run.seconds)[mark.index];
  const all = runs.flatMap((run, i) => run.bookmarks.map((mark) => ({ ...mark, i })));
  const group = root.querySelector(".jumps");
  group.hidden = !all.length;
  group.replaceChildren("jump to epoch", ...all.map((mark) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: mark.why, textContent: `${mark.epoch}: ${mark.name}` });
    button.ariaLabel = `epoch ${mark.epoch}: ${mark.name}${runs.length > 1 ? `, ${runs[mark.i].title}` : ""}`;
    if (runs.length > 1) button.insertAdjacentHTML("afterbegin", `<span class="of" style="background:${colours.runs[mark.i]}"></span>`);
    button.onclick = () => { stop(root); go(root, place(runs[mark.i], mark) ?? 0, true); };
    button.mark = mark;
    return button;
  }));
  const share = (at) => (100 * toSlider(state, at)) / Number(root.querySelector(".time").max || 1);
  root.querySelector(".ticks").replaceChildren(...all.map((mark) => {
    const tick = document.createElement("i");
    tick.style.left = `${share(place(runs[mark.i], mark) ?? 0)}%`;
    return tick;
  }));
}

// What stands where.

function figure(parent, kind, title, onto = ["canvas"]) {
  const node = document.createElement("figure");
  node.className = kind;
  node.innerHTML = `<figcaption><span></span><small></small></figcaption>`;
  node.querySelector("span").textContent = title;
  node.canvases = onto.map(() => {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    node.append(canvas);
    return canvas;
  });
  const save = Object.assign(document.createElement("button"), { type: "button", className: "save", textContent: "⤓", title: "Save as PNG" });
  save.ariaLabel = `Save “${title}” as PNG`;
  save.onclick = () => node.canvases.forEach((canvas, i) => {
    const paper = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height }), ink = paper.getContext("2d");
    ink.fillStyle = getComputedStyle(canvas).getPropertyValue("--st-background-color");
    ink.fillRect(0, 0, paper.width, paper.height);
    ink.drawImage(canvas, 0, 0);
    Object.assign(document.createElement("a"), { href: paper.toDataURL(), download: `${title}${i || ""}.png`.replace(/[^\w.-]+/g, "-") }).click();
  });
  node.append(save);
  parent.append(node);
  return node;
}

function build(root, told) {
  const views = root.querySelector(".views"), many = told.runs.length > 1;
  views.replaceChildren();
  views.className = `views ${many ? "two" : "one"}`;
  root.parts = { accuracy: figure(views, "accuracy", "Accuracy on validation images") };
  root.parts.runs = told.runs.map((run, i) => {
    const box = document.createElement("section"), part = { box };
    box.className = "run";
    box.ariaLabel = run.title;
    views.append(box);
    if (many) {
      part.head = document.createElement("h3");
      part.head.textContent = run.title;
      part.head.style.borderColor = told.colours.runs[i];
      box.append(part.head);
    }
    const heaps = document.createElement("div");
    heaps.className = "goodness";
    part.layers = run.layers.map((layer, l) => (layer.pos || layer.pair
      ? figure(heaps, "layer", `Layer ${l + 1}`, ["pos", "pair"].filter((kind) => layer[kind])) : null));
    const pair = document.createElement("div");
    pair.className = "pair";
    const mapped = run.layers.flatMap((layer, l) => (layer.map ? [l] : []));
    if (mapped.length) {
      part.map = figure(pair, "map", "Images by what a layer says of them");
      part.mapped = mapped;
      const group = document.createElement("div");
      group.className = "layers";
      group.append(...mapped.map((l) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: `layer ${l + 1}` });
        button.onclick = () => { root.state.layer = l; root.parts.runs.forEach((one) => (one.places = null)); draw(root); tell(root); };
        button.layer = l;
        return button;
      }));
      part.choices = group;
      part.map.insertBefore(group, part.map.canvases[0]);
      part.note = Object.assign(document.createElement("p"), { className: "note" });
      part.map.append(part.note);
    }
    if (run.fields) part.fields = figure(pair, "fields", "Incoming weights, first layer");
    if (run.said) part.samples = figure(pair, "samples", "Test images");
    const rows = [heaps, pair].filter((row) => row.children.length);
    box.append(...(many ? rows.reverse() : rows)); // in a race the maps, which both have, lie side by side
    return part;
  });
}

// Drawing.

function draw(root) {
  const { state, parts } = root;
  if (!parts || state.at === null) return;
  const css = getComputedStyle(root), dark = isDark(css), text = css.getPropertyValue("--st-text-color").trim();
  const look = { dark: Number(dark), text, font: css.getPropertyValue("--st-font").trim() || "sans-serif", line: dark ? "#ffffff38" : "#00000029" };
  const { runs } = state.told, moments = runs.map((_, i) => momentOf(state, i));
  const now = runs.map((run, i) => words(run, moments[i], runs.length > 1));
  const said = root.querySelector(".now"), line = runs.length > 1 && state.axis === "second" ? `${state.at.toFixed(1)} s. ` : "";
  const sentence = line + now.join(" ");
  if (said.textContent !== sentence) said.textContent = sentence;
  for (const button of root.querySelectorAll(".jumps button")) button.classList.toggle("here", moments[button.mark.i] === button.mark.index);
  accuracy(parts.accuracy, state, moments, look);
  runs.forEach((run, i) => {
    const part = parts.runs[i], moment = moments[i];
    part.layers.forEach((node, l) => node && goodness(node, run, l, moment, look));
    if (part.map) map(root, part, run, moment, look);
    if (part.fields) fields(part.fields, run, moment, look);
    if (part.samples) samples(part.samples, run, moment, look);
  });
}

const percent = (v, digits = 0) => (v === null || v === undefined ? "–" : `${(100 * v).toFixed(digits)}%`);
const seconds = (v) => (v < 10 ? `${v.toFixed(1)} s` : v < 60 ? `${v.toFixed(0)} s` : `${Math.floor(v / 60)} min ${Math.round(v % 60)} s`);

function words(run, moment, many) {
  const epoch = run.epochs[moment], time = run.seconds[moment];
  const when = epoch ? `after epoch ${epoch} of ${run.epochs.at(-1)}` : "before training";
  const clock = time === null ? "" : `, ${seconds(time)} on the clock`;
  const right = run.accuracy[moment] === null ? "" : `: ${percent(run.accuracy[moment], 2)} of the validation images right by ${run.readout}`;
  return many ? `${run.title}, ${when}${right}.` : `${when[0].toUpperCase()}${when.slice(1)}${clock}${right}.`;
}

function brush(canvas) {
  const ratio = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const ink = canvas.getContext("2d");
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  ink.clearRect(0, 0, width, height);
  return { ink, width, height };
}

function write(ink, look, text, x, y, align = "left", size = 11) {
  ink.font = `${size}px ${look.font}`;
  ink.textAlign = align;
  ink.fillStyle = look.text;
  ink.fillText(text, x, y);
}

function accuracy(node, state, moments, look) {
  const { ink, width, height } = brush(node.canvases[0]), { runs, colours } = state.told;
  const left = 44, right = width - 12, top = 8, bottom = height - 30, least = 5e-4;
  const errors = runs.flatMap((run) => [run.accuracy, ...(runs.length > 1 ? [] : run.layers.map((layer) => layer.accuracy))]).flat().filter((v) => v !== null && v !== undefined).map((v) => Math.max(1 - v, least));
  const high = Math.log(0.95), low = Math.log(Math.min(0.5, ...errors) / 1.25);
  const x = (at) => left + ((right - left) * at) / (state.last || 1);
  const y = (share) => bottom - ((bottom - top) * (high - Math.log(Math.max(1 - share, least)))) / (high - low);
  for (const error of [0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]) {
    if (Math.log(error) < low) break;
    ink.fillStyle = look.line;
    ink.fillRect(left, y(1 - error), right - left, 1);
    write(ink, look, `${+(100 * (1 - error)).toFixed(1)}%`, left - 6, y(1 - error) + 4, "right");
  }
  const count = Math.max(1, Math.min(8, Math.floor((right - left) / 70))), rough = state.last / count, power = 10 ** Math.floor(Math.log10(rough || 1));
  const by = Math.max(state.axis === "epoch" ? 1 : 0, [1, 2, 5, 10].find((m) => m * power >= rough) * power) || 1;
  for (let at = 0; at <= state.last + 1e-9; at += by) write(ink, look, String(+at.toFixed(3)), x(at), bottom + 14, "center");
  write(ink, look, state.axis === "epoch" ? "epoch" : "seconds of training", (left + right) / 2, height - 3, "center");
  const line = (run, values, colour, dash, wide, mark) => {
    const times = state.axis === "epoch" ? run.epochs : run.seconds;
    ink.strokeStyle = ink.fillStyle = colour;
    ink.lineWidth = wide;
    ink.setLineDash(dash);
    ink.beginPath();
    let begun = false;
    values.forEach((v, m) => {
      if (v === null || times[m] === null) return;
      ink[begun ? "lineTo" : "moveTo"](x(times[m]), y(v));
      begun = true;
    });
    ink.stroke();
    ink.setLineDash([]);
    if (mark !== null && values[mark] !== null && times[mark] !== null) {
      ink.beginPath();
      ink.arc(x(times[mark]), y(values[mark]), 5, 0, 7);
      ink.fill();
    }
  };
  runs.forEach((run, i) => {
    if (runs.length === 1) run.layers.forEach((layer, l) => line(run, layer.accuracy, colours.classes[l % 6], [[], [6, 4], [2, 3], [8, 3, 2, 3]][l % 4], 1.5, null));
    line(run, run.accuracy, runs.length > 1 ? colours.runs[i] : look.text, i ? [7, 4] : [], 2.5, moments[i]);
  });
  ink.fillStyle = look.text;
  ink.globalAlpha = 0.6;
  ink.fillRect(x(state.at) - 0.5, top, 1, bottom - top);
  ink.globalAlpha = 1;
  const small = node.querySelector("small");
  small.replaceChildren();
  const known = runs.length > 1 ? runs.map((run, i) => [run.title, colours.runs[i], i ? "╌" : "━"]) : [[`net, ${runs[0].readout ?? "no read-out told"}`, look.text, "━"],
    ...runs[0].layers.flatMap((layer, l) => (layer.accuracy.some((v) => v !== null) ? [[`layer ${l + 1} alone`, colours.classes[l % 6], ["─", "╌", "┄", "╌"][l % 4]]] : []))];
  known.forEach(([label, colour, dash]) => {
    const mark = Object.assign(document.createElement("b"), { textContent: `${dash} ` });
    mark.style.color = colour;
    small.append(mark, `${label}   `);
  });
  node.canvases[0].ariaLabel = runs.map((run, i) => `${run.title}: validation accuracy ${percent(run.accuracy[moments[i]], 2)} after epoch ${run.epochs[moments[i]]}`).join("; ");
}

function goodness(node, run, l, moment, look) {
  const layer = run.layers[l], at = (name) => layer[name]?.[moment];
  const number = (v) => (v === null || v === undefined ? "–" : v.toFixed(2));
  const told = [];
  if (layer.won) told.push(`≥ ${percent(at("won"), 1)} of pairs won`);
  if (layer.dprime) told.push(`d′ ${number(at("dprime"))}`, `overlap ${percent(at("overlap"))}`);
  if (at("dead") !== null) told.push(`${percent(at("dead"), 1)} dead`);
  node.querySelector("small").textContent = told.join(" · ");
  const canvases = [...node.canvases];
  if (layer.pos) {
    const canvas = canvases.shift();
    bars(canvas, layer.edges, [["neg", layer.neg.of(moment)], ["pos", layer.pos.of(moment)]], "goodness", look);
    canvas.ariaLabel = `layer ${l + 1}, goodness of positives and negatives: d prime ${number(at("dprime"))}, overlap ${percent(at("overlap"))}`;
  }
  if (layer.pair) {
    const canvas = canvases.shift(), [low, high] = layer.pair_edges, all = layer.pair.of(moment), wide = (high - low) / all.length;
    const side = (won) => Float32Array.from(all, (v, b) => (low + wide * (b + 0.5) > 0 === won ? v : 0));
    bars(canvas, layer.pair_edges, [["neg", side(false)], ["pos", side(true)]], "lead g⁺ − g⁻ of each image", look, 0);
    canvas.ariaLabel = `layer ${l + 1}, lead of the positive over its negative: above 0 for at least ${percent(at("won"), 1)} of the images`;
  }
}

function bars(canvas, [low, high], heaps, label, look, zero = null) {
  const { ink, width, height } = brush(canvas), base = height - 26, left = 4, right = width - 4;
  const x = (v) => left + ((right - left) * (v - low)) / (high - low || 1);
  for (const [kind, values] of heaps) {
    const colour = INK[kind][look.dark], wide = (right - left) / values.length;
    ink.beginPath();
    ink.moveTo(left, base);
    values.forEach((v, b) => {
      const top = base - ((base - 8) * v) / 255;
      ink.lineTo(left + b * wide, top);
      ink.lineTo(left + (b + 1) * wide, top);
    });
    ink.lineTo(right, base);
    ink.globalAlpha = 0.3;
    ink.fillStyle = colour;
    ink.fill();
    ink.globalAlpha = 1;
    ink.strokeStyle = colour;
    ink.lineWidth = 1.6;
    ink.setLineDash(kind === "neg" ? [3, 2] : []); // told apart without colour, too
    ink.stroke();
    ink.setLineDash([]);
  }
  ink.fillStyle = look.line;
  ink.fillRect(left, base, right - left, 1);
  if (zero !== null && low < 0 && high > 0) {
    ink.fillStyle = look.text;
    ink.fillRect(x(0) - 0.5, 4, 1, base - 4);
    if (x(0) > left + 36 && x(0) < right - 36) write(ink, look, "0", x(0), base + 12, "center", 10);
  }
  const short = (v) => (Math.abs(v) >= 100 ? v.toFixed(0) : +v.toPrecision(2));
  write(ink, look, short(low), left, base + 12, "left", 10);
  write(ink, look, short(high), right, base + 12, "right", 10);
  write(ink, look, label, width / 2, height - 3, "center", 10);
}

function map(root, part, run, moment, look) {
  const { state } = root, l = part.mapped.includes(state.layer) ? state.layer : part.mapped.at(-1), layer = run.layers[l];
  for (const button of part.choices.children) button.ariaPressed = String(button.layer === l);
  const wanted = Float32Array.from(layer.map.of(moment)), before = part.places;
  const paint = (places) => {
    const { ink, width, height } = brush(part.map.canvases[0]), labels = run.map_labels, colours = state.told.colours.classes, half = width / 2;
    ink.font = `600 11px ${look.font}`;
    ink.textAlign = "center";
    ink.textBaseline = "middle";
    for (let i = 0; i < labels.length; i++) {
      const colour = colours[labels[i] % colours.length];
      ink.fillStyle = colour === "#000000" ? look.text : colour === "#0072B2" && look.dark ? INK.pos[1] : colour;
      ink.fillText(glyph(run.classes, labels[i]), half + (places[2 * i] / 127) * (half - 9), height / 2 - (places[2 * i + 1] / 127) * (height / 2 - 9));
    }
    ink.textBaseline = "alphabetic";
  };
  cancelAnimationFrame(part.glide);
  part.places = wanted;
  if (!before || state.calm || before.length !== wanted.length || state.axis === "second") paint(wanted);
  else {
    const begun = performance.now();
    const glide = (now) => {
      const done = Math.min(1, Math.max(0, (now - begun) / 160));
      paint(wanted.map((v, i) => before[i] + (v - before[i]) * done));
      if (done < 1) part.glide = requestAnimationFrame(glide);
    };
    glide(begun);
  }
  const long = run.classes.some((name) => String(name).length > 2);
  part.note.textContent = `${run.map_labels.length} validation images on the layer's two main axes, no label shown; each moment turned to lie on the one before.`
    + (long ? ` ${run.classes.map((name, c) => `${glyph(run.classes, c)} ${name}`).join(", ")}.` : "");
  part.map.canvases[0].ariaLabel = `${run.map_labels.length} validation images by what layer ${l + 1} says of them after epoch ${run.epochs[moment]}, marked by class`;
}

function glyph(classes, c) {
  return classes.every((name) => String(name).length <= 2) ? String(classes[c]) : classes.length <= 26 ? String.fromCharCode(65 + c) : String(c);
}

function fields(node, run, moment, look) {
  const { ink, width } = brush(node.canvases[0]), [, count, high, wide] = run.fields.shape, values = run.fields.of(moment);
  const columns = Math.ceil(Math.sqrt(count)), cell = width / columns, gap = 4;
  ink.imageSmoothingEnabled = false;
  const tile = (node.tile ??= document.createElement("canvas"));
  tile.width = wide;
  tile.height = high;
  const paper = tile.getContext("2d"), pixels = paper.createImageData(wide, high);
  for (let unit = 0; unit < count; unit++) {
    for (let p = 0; p < high * wide; p++) {
      const v = values[unit * high * wide + p] / run.levels, colour = v > 0 ? INK.up : INK.down;
      pixels.data.set([...colour, 255 * Math.abs(v)], 4 * p);
    }
    paper.putImageData(pixels, 0, 0);
    const x = (unit % columns) * cell, y = Math.floor(unit / columns) * cell;
    ink.drawImage(tile, x + gap / 2, y + gap / 2, cell - gap, cell - gap);
    ink.strokeStyle = look.line;
    ink.strokeRect(x + gap / 2, y + gap / 2, cell - gap, cell - gap);
  }
  node.querySelector("small").textContent = "blue pushes a unit up, vermilion down; each unit on its own scale, the same at all times";
  node.canvases[0].ariaLabel = `incoming weights of ${count} units of the first layer after epoch ${run.epochs[moment]}`;
}

function samples(node, run, moment, look) {
  const said = run.said.of(moment), [count, channels, high, wide] = run.images.shape, canvas = node.canvases[0];
  const columns = canvas.clientWidth > 520 ? 16 : 8, cell = canvas.clientWidth / columns, tall = cell + 13;
  canvas.style.height = `${Math.ceil(count / columns) * tall}px`;
  const { ink } = brush(canvas);
  if (!node.tiles) {
    node.tiles = Array.from({ length: count }, (_, i) => {
      const tile = Object.assign(document.createElement("canvas"), { width: wide, height: high }), paper = tile.getContext("2d");
      const pixels = paper.createImageData(wide, high), image = run.images.of(i), size = high * wide;
      for (let p = 0; p < size; p++) pixels.data.set([0, 1, 2].map((c) => image[(channels === 3 ? c : 0) * size + p]).concat(255), 4 * p);
      paper.putImageData(pixels, 0, 0);
      return tile;
    });
  }
  ink.imageSmoothingEnabled = false;
  let right = 0;
  for (let i = 0; i < count; i++) {
    const x = (i % columns) * cell, y = Math.floor(i / columns) * tall, ok = said[i] === run.labels[i];
    right += ok;
    ink.drawImage(node.tiles[i], x + 2, y + 2, cell - 4, cell - 4);
    if (!ok) {
      ink.strokeStyle = INK.neg[0];
      ink.lineWidth = 3;
      ink.strokeRect(x + 2, y + 2, cell - 4, cell - 4);
    }
    const name = String(run.classes[said[i]] ?? "?");
    write(ink, look, `${ok ? "" : "✗"}${name.length > 5 ? glyph(run.classes, said[i]) : name}`, x + cell / 2, y + cell + 9, "center", 10);
  }
  node.querySelector("small").textContent = `${right} of ${count} read right by ${run.said_by === "goodness" ? "the sum of goodness" : "the scores"}; ✗ marks the others`;
  canvas.ariaLabel = `${count} test images with what the net reads them as after epoch ${run.epochs[moment]}: ${right} right`;
}

function isDark(css) {
  const paper = document.createElement("canvas").getContext("2d");
  paper.fillStyle = css.getPropertyValue("--st-background-color").trim();
  paper.fillRect(0, 0, 1, 1);
  return [...paper.getImageData(0, 0, 1, 1).data].slice(0, 3).reduce((a, b) => a + b) < 384;
}
