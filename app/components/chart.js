export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const grid = parentElement.querySelector(".live-charts");
  grid.className = `live-charts columns-${data.columns} ${data.framed ? "framed" : ""}`;
  while (grid.children.length > data.charts.length) grid.lastChild.remove();
  while (grid.children.length < data.charts.length) {
    grid.insertAdjacentHTML("beforeend", `<div class="live-cell"><div class="live-chart" role="figure"></div>
      <details class="chart-save"><summary aria-label="Save this chart" title="Save this chart">⤓</summary><div>
      ${["PNG", "SVG", "CSV"].map((kind) => `<button type="button">${kind}</button>`).join("")}</div></details></div>`);
    const cell = grid.lastChild, menu = cell.querySelector(".chart-save");
    menu.onclick = ({ target }) => target.matches("button") && saveLiveChart(cell.firstChild, target.textContent, menu);
  }
  const nodes = [...grid.querySelectorAll(".live-chart")];
  data.charts.forEach(({ figure, alt }, i) => {
    nodes[i].ariaLabel = alt;
    nodes[i].style.height = `${figure.layout.height}px`; // before Plotly is here: nothing jumps
  });
  grid.draw = () => data.charts.forEach((chart, i) => {
    drawLiveChart(nodes[i], chart);
    if (chart.select) listen(nodes[i], chart.select, setStateValue);
    if (chart.click) hear(nodes[i], chart.click, setTriggerValue);
  });
  if (globalThis.Plotly) grid.draw();
  else addEventListener("plotly-ready", () => grid.draw(), { once: true }); // draws the latest data by then
}

// Which points are circled, as indices alone: 5,000 records of points would weigh a megabyte.
function listen(node, of, setStateValue) {
  node.tell = (points) => {
    const parts = {};
    points.forEach(({ curveNumber, pointNumber }) => (parts[curveNumber] ??= []).push(pointNumber));
    setStateValue("selected", points.length ? { of, parts } : null);
  };
  if (node.listens) return;
  node.listens = true;
  node.on("plotly_selected", (event) => event && node.tell(event.points));
  node.on("plotly_deselect", () => node.tell([]));
}

// Which cell of a heat map, or which point, is clicked: three numbers.
function hear(node, of, setTriggerValue) {
  node.tellClick = ({ curveNumber: trace, pointNumber: at }) => {
    const [row, column] = Array.isArray(at) ? at : [at, 0];
    setTriggerValue("clicked", { of, trace, row, column });
  };
  if (node.hears) return;
  node.hears = true;
  node.classList.add("clickable");
  node.on("plotly_click", (event) => node.tellClick(event.points[0]));
}
