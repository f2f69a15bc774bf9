// White ink on black in both themes: it is what the net sees. The strokes are told when one ends, as points of the pad.
export default function ({ data, parentElement, setStateValue }) {
  const [canvas, pen, hint] = ["canvas", ".pen", ".hint"].map((name) => parentElement.querySelector(name));
  const [undo, wipe] = parentElement.querySelectorAll("button");
  const ink = canvas.getContext("2d");
  const middle = canvas.width / 2;
  const kept = (canvas.kept ??= { x: middle, y: middle, drawing: false, paths: [], sheet: Date.now() }); // outlives this call
  Object.assign(ink, { strokeStyle: "#fff", lineWidth: data.pen, lineCap: "round", lineJoin: "round" });

  const show = () => {
    pen.style.left = `${(100 * kept.x) / canvas.width}%`;
    pen.style.top = `${(100 * kept.y) / canvas.height}%`;
    hint.hidden = kept.paths.length > 0;
    undo.disabled = wipe.disabled = !kept.paths.length;
  };
  const line = (x, y) => {
    ink.beginPath();
    ink.moveTo(kept.x, kept.y);
    ink.lineTo(x, y);
    ink.stroke();
  };
  const move = (x, y) => Object.assign(kept, { x, y });
  const begin = (x, y) => {
    move(x, y);
    line(x, y); // a dot
    kept.paths.push([Math.round(x), Math.round(y)]);
    show();
  };
  const draw = (x, y) => {
    const path = kept.paths.at(-1), far = Math.hypot(x - path.at(-2), y - path.at(-1));
    line(x, y);
    move(x, y);
    if (far >= 2) path.push(Math.round(x), Math.round(y)); // nearer points say nothing
  };
  const tell = () => {
    show();
    setStateValue("drawing", { paths: kept.paths, sheet: kept.sheet });
  };
  const redraw = (paths) => {
    ink.clearRect(0, 0, canvas.width, canvas.height);
    kept.paths = [];
    for (const path of paths) {
      begin(path[0], path[1]);
      for (let i = 2; i < path.length; i += 2) {
        line(path[i], path[i + 1]);
        move(path[i], path[i + 1]);
      }
      kept.paths[kept.paths.length - 1] = path;
    }
    kept.line = false;
    if (!paths.length) kept.sheet = Date.now(); // what comes next is another drawing
    tell();
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };

  canvas.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    kept.drawing = true;
    kept.line = false;
    begin(...at(event));
  };
  canvas.onpointermove = (event) => {
    if (!kept.drawing || !event.isPrimary) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const one of passed.length ? passed : [event]) draw(...at(one));
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    if (!kept.drawing || !event.isPrimary) return;
    kept.drawing = false;
    tell();
  };

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.onkeydown = (event) => {
    if (event.key === "Delete" || event.key === "Backspace") return redraw([]);
    if (!steps[event.key]) return;
    event.preventDefault();
    event.stopPropagation(); // the page's own shortcuts take the arrows, too
    const size = canvas.width / 28;
    const [x, y] = steps[event.key].map((step, i) => step * size + [kept.x, kept.y][i]);
    const inside = (value) => Math.min(canvas.width - size, Math.max(size, value));
    if (event.shiftKey) {
      kept.line = false; // lifted: what comes next is another stroke
      move(inside(x), inside(y));
    } else {
      if (!kept.line) begin(kept.x, kept.y);
      kept.line = true;
      draw(inside(x), inside(y));
    }
    show();
  };
  canvas.onkeyup = (event) => steps[event.key] && !event.shiftKey && tell();
  undo.onclick = () => redraw(kept.paths.slice(0, -1));
  wipe.onclick = () => redraw([]);
  show();
}
