// White ink on black in both themes: it is what the net sees. A stroke is told when it ends.
export default function ({ parentElement, setStateValue }) {
  const [canvas, pen, button] = ["canvas", ".pen", "button"].map((name) => parentElement.querySelector(name));
  const ink = canvas.getContext("2d");
  const place = (canvas.place ??= { x: canvas.width / 2, y: canvas.height / 2, drawing: false }); // outlives this call
  Object.assign(ink, { strokeStyle: "#fff", lineWidth: canvas.width / 13, lineCap: "round", lineJoin: "round" });

  const move = (x, y, draws) => {
    if (draws) {
      ink.beginPath();
      ink.moveTo(place.x, place.y);
      ink.lineTo(x, y);
      ink.stroke();
    }
    Object.assign(place, { x, y });
    pen.style.left = `${(100 * x) / canvas.width}%`;
    pen.style.top = `${(100 * y) / canvas.height}%`;
  };
  const tell = () => {
    const paper = document.createElement("canvas"); // the drawing alone is transparent; a picture of it is not
    paper.width = paper.height = canvas.width;
    const copy = paper.getContext("2d");
    copy.fillRect(0, 0, paper.width, paper.height);
    copy.drawImage(canvas, 0, 0);
    setStateValue("png", paper.toDataURL("image/png"));
  };
  const clear = () => {
    ink.clearRect(0, 0, canvas.width, canvas.height);
    setStateValue("png", null);
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };

  canvas.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    place.drawing = true;
    move(...at(event), false);
    move(...at(event), true); // a dot
  };
  canvas.onpointermove = (event) => {
    if (!place.drawing || !event.isPrimary) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const one of passed.length ? passed : [event]) move(...at(one), true);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    if (!place.drawing || !event.isPrimary) return;
    place.drawing = false;
    tell();
  };

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.onkeydown = (event) => {
    if (event.key === "Delete" || event.key === "Backspace") return clear();
    if (!steps[event.key]) return;
    event.preventDefault();
    event.stopPropagation(); // the page's own shortcuts take the arrows, too
    const size = canvas.width / 28;
    const [x, y] = steps[event.key].map((step, i) => step * size + [place.x, place.y][i]);
    const inside = (value) => Math.min(canvas.width - size, Math.max(size, value));
    move(inside(x), inside(y), !event.shiftKey);
  };
  canvas.onkeyup = (event) => steps[event.key] && !event.shiftKey && tell();
  button.onclick = clear;
}
