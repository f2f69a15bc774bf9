export default function ({ data, parentElement }) {
  const node = parentElement.querySelector(".live-chart");
  node.ariaLabel = data.alt;
  node.style.height = `${data.figure.layout.height}px`;
  node.draw = () => drawLiveChart(node, data);
  if (globalThis.Plotly) node.draw();
  else addEventListener("plotly-ready", () => node.draw(), { once: true });
}
