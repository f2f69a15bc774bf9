

// Sent once, beside Plotly: draws a figure in the page's own colours.
const ON_DARK = { "#0072B2": "#56B4E9", "#000000": "#E7EDF3" }; // the same hue, readable on a dark page

globalThis.drawLiveChart = (node, { figure, config }) => {
  const css = getComputedStyle(node);
  const colour = (name) => css.getPropertyValue(`--st-${name}`).trim();
  let text = JSON.stringify(figure); // a copy too: Plotly writes into what it is given
  if (rgb(colour("background-color")).reduce((sum, part) => sum + part) < 384) {
    for (const [light, dark] of Object.entries(ON_DARK)) text = text.replaceAll(light, dark);
  }
  const { data, layout } = JSON.parse(text);
  data.forEach((trace, i) => (trace.x ??= data[i - 1]?.x)); // a band is drawn over its line's x, which travels once
  const [red, green, blue] = rgb(colour("text-color"));
  const lines = `rgba(${red},${green},${blue},0.14)`;
  const axis = { gridcolor: lines, zerolinecolor: lines, linecolor: lines };
  layout.template = { layout: {
    font: { color: colour("text-color"), family: colour("font") || "sans-serif", size: 12 },
    xaxis: axis, yaxis: axis,
    hoverlabel: { bgcolor: colour("secondary-background-color"), bordercolor: colour("border-color"), font: { color: colour("text-color") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("border-color"), activecolor: colour("text-color") },
  } };
  Plotly.react(node, data, layout, {
    displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], ...config,
    showSendToCloud: false, plotlyServerURL: "", // Plotly's own button would upload the chart
  });
  if (!node.fits) {
    node.fits = new ResizeObserver(() => node.clientWidth && Plotly.Plots.resize(node));
    node.fits.observe(node);
  }
};

// What is drawn, as a file: a picture in the page's colours, or its numbers, a line for each point of each trace.
globalThis.saveLiveChart = async (node, kind, menu) => {
  menu.open = false;
  const name = (node.layout.title?.text || node.ariaLabel).replace(/<[^>]*>/g, "").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  if (kind !== "CSV") {
    const back = getComputedStyle(node).getPropertyValue("--st-background-color").trim();
    const { clientWidth: width, clientHeight: height } = node;
    const layout = { ...node.layout, paper_bgcolor: back, plot_bgcolor: back };
    await Plotly.downloadImage({ data: node.data, layout }, { format: kind.toLowerCase(), width, height, scale: 2, filename: name });
    return;
  }
  const file = new Blob([chartCsv(node._fullData)], { type: "text/csv" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: `${name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

// The numbers of traces: where a chart draws something made of them, such as a share of errors or a root, `meta` has them;
// or it says that bytes stand for roots of shares, `from` on, and for a word below.
globalThis.chartCsv = (traces) => {
  const cell = (value) => (/[",\n]/.test(value ?? "") ? `"${String(value).replaceAll('"', '""')}"` : value ?? "");
  const rows = [["trace", "x", "y", "value"]];
  for (const [i, trace] of traces.entries()) {
    const { x, y, z } = { x: trace.x ?? trace.theta, y: trace.y ?? trace.r, z: trace.z, ...trace.meta };
    const named = trace.name ?? `trace ${i}`, roots = trace.meta?.roots;
    const share = (byte) => (byte < roots.from ? roots.below : (((byte - roots.from) / (255 - roots.from)) ** 2).toPrecision(2));
    const told = roots ? share : (value) => value;
    if (z) z.forEach((row, r) => row.forEach((value, c) => rows.push([named, x?.[c] ?? c, y?.[r] ?? r, told(value)])));
    else for (let n = 0; n < Math.max(x?.length ?? 0, y?.length ?? 0); n++) rows.push([named, x ? x[n] : n, y ? y[n] : n, ""]);
  }
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
};

function rgb(colour) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

globalThis.dispatchEvent(new Event("plotly-ready"));
export default function () {}
