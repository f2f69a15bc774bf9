export default function ({ data, parentElement }) {
  const grid = parentElement.querySelector(".live-charts");
  grid.className = `live-charts columns-${data.columns} ${data.framed ? "framed" : ""}`;
  while (grid.children.length > data.charts.length) grid.lastChild.remove();
  while (grid.children.length < data.charts.length) {
    grid.insertAdjacentHTML("beforeend", '<div><div class="live-chart" role="img"></div></div>');
  }
  const nodes = [...grid.querySelectorAll(".live-chart")];
  data.charts.forEach(({ figure, alt }, i) => {
    nodes[i].ariaLabel = alt;
    nodes[i].style.height = `${figure.layout.height}px`; // before Plotly is here: nothing jumps
  });
  grid.draw = () => data.charts.forEach((chart, i) => drawLiveChart(nodes[i], chart));
  if (globalThis.Plotly) grid.draw();
  else addEventListener("plotly-ready", () => grid.draw(), { once: true }); // draws the latest data by then
}
