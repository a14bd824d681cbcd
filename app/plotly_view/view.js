// Draws a Plotly figure in the page itself and reports clicks and the range that was zoomed to.
// The figure is drawn into one element with Plotly.react, so that zoom and hover outlive any number of refreshes.

const views = new WeakMap();

function loadPlotly(address) {
  // One script for all charts of the page, however many ask at once.
  window.lambcPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      window.lambcPlotly = undefined;
      reject(new Error("Plotly could not be loaded from " + address));
    };
    document.head.append(script);
  });
  return window.lambcPlotly;
}

function shownRange(element) {
  const axis = element._fullLayout?.xaxis;
  return !axis || axis.autorange ? null : axis.range.map(Number);
}

function background(chart) {
  // On the page a chart is transparent; a picture of it is looked at elsewhere.
  return getComputedStyle(chart).getPropertyValue("--st-background-color").trim() || "white";
}

function fileName(view) {
  return view.component.data.label.toLowerCase().replace(/[^a-z0-9]+/g, "-");
}

function save(view, href, extension) {
  const link = document.createElement("a");
  link.href = href;
  link.download = `${fileName(view)}.${extension}`;
  link.click();
}

async function savePicture(view, format) {
  const { chart } = view;
  const colour = background(chart);
  const layout = { ...chart.layout, paper_bgcolor: colour, plot_bgcolor: colour };
  const size = { width: chart.clientWidth, height: chart.clientHeight, scale: format === "png" ? 2 : 1 };
  const picture = await window.Plotly.toImage({ data: chart.data, layout }, { format, ...size });
  save(view, picture, format);
}

function plain(text) {
  // What Plotly shows of a text: it reads a little HTML.
  return new DOMParser().parseFromString(String(text ?? ""), "text/html").body.textContent;
}

function field(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (typeof value === "number") return String(value);
  const text = plain(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function title(axis, otherwise) {
  return plain(axis?.title?.text) || otherwise;
}

function several(value) {
  return value !== null && typeof value === "object" ? Array.from(value) : [value];
}

// What is drawn, a row a point or a cell. Where a chart draws logarithms, customdata has what they are of; where it has
// several numbers of a cell, meta.columns names them.
function rowsDrawn(trace) {
  const series = trace.name ?? "";
  if (trace.orientation === "h") return Array.from(trace.y, (layer, place) => [series, "", layer, trace.x[place]]);
  if (trace.type !== "heatmap") {
    return Array.from(trace.x ?? [], (x, place) => {
      const y = trace.y[place];
      return typeof y === "string" ? [series, x, y] : [series, x, "", y]; // a mark at a layer, or a point of a curve
    });
  }
  const values = trace.customdata ?? trace.z;
  return Array.from(trace.y).flatMap((layer, row) =>
    Array.from(values[row], (value, column) => [series, trace.x0 + column * trace.dx, layer, ...several(value)]),
  );
}

function saveTable(view) {
  const { xaxis } = view.chart._fullLayout;
  const rows = view.chart._fullData.flatMap(rowsDrawn).filter((row) => row.length === 3 || field(row[3]) !== "");
  const columns = view.chart.data.find((trace) => trace.meta?.columns)?.meta.columns ?? ["value"];
  const head = ["series", title(xaxis, "x"), "layer", ...columns];
  const lines = [head, ...rows].map((row) => row.map(field).join(","));
  const address = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  save(view, address, "csv");
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function offerFiles(view) {
  for (const button of view.tools.querySelectorAll("button")) {
    const { format } = button.dataset;
    button.onclick = () => (format === "csv" ? saveTable(view) : savePicture(view, format));
  }
}

// Arrows move along, + and - zoom, 0 or Escape shows everything.
function onKey(view, event) {
  const axis = view.chart._fullLayout?.xaxis;
  if (!axis || axis.fixedrange || event.ctrlKey || event.metaKey || event.altKey) return;
  const [first, last] = axis.range.map(Number);
  const width = last - first;
  const moves = {
    ArrowLeft: [first - width / 4, last - width / 4],
    ArrowRight: [first + width / 4, last + width / 4],
    "+": [first + width / 4, last - width / 4],
    "-": [first - width / 2, last + width / 2],
  };
  if (event.key in moves) window.Plotly.relayout(view.chart, { "xaxis.range": moves[event.key] });
  else if (event.key === "0" || event.key === "Escape") window.Plotly.relayout(view.chart, { "xaxis.autorange": true });
  else return;
  event.preventDefault();
}

async function draw(view) {
  const { data } = view.component;
  if (view.drawn === data.token) return;
  const Plotly = await loadPlotly(data.plotly);
  if (view.gone || view.drawn === data.token) return;
  view.drawn = data.token;
  const figure = JSON.parse(data.figure);
  figure.layout.uirevision = data.keep_zoom;
  const config = {
    displaylogo: false,
    displayModeBar: false,
    responsive: false,
    doubleClick: "autosize",
    showTips: false,
  };
  await Plotly.react(view.chart, figure.data, figure.layout, config);
  view.chart.dataset.drawn = data.token;
  const mark = `drawn: ${data.label}`;
  performance.clearMarks(mark); // a page may stay open for days
  performance.mark(mark);
  view.loading.hidden = true;
  if (!view.listening) listen(view, Plotly);
  report(view);
}

function report(view) {
  if (!view.component.data.report_zoom) return;
  const range = shownRange(view.chart);
  if (JSON.stringify(range) === JSON.stringify(view.reported)) return;
  view.reported = range;
  view.component.setStateValue("range", range);
}

function listen(view, Plotly) {
  view.listening = true;
  offerFiles(view);
  view.chart.addEventListener("keydown", (event) => onKey(view, event));
  view.chart.on("plotly_relayout", () => report(view));
  view.chart.on("plotly_click", ({ points: [point] }) => {
    const place = Array.isArray(point.pointIndex) ? point.pointIndex : [null, point.pointIndex];
    view.component.setTriggerValue("cell", { row: place[0], x: Number(point.x), trace: point.curveNumber });
  });
  let width = view.chart.clientWidth;
  view.sizes = new ResizeObserver(() => {
    if (!view.chart.isConnected || view.chart.clientWidth === width || !view.chart.clientWidth) return;
    width = view.chart.clientWidth;
    Plotly.Plots.resize(view.chart);
  });
  view.sizes.observe(view.chart);
}

export default function (component) {
  const { parentElement, data } = component;
  if (!data.figure) {
    parentElement.querySelector(".lambc-chart")?.remove();
    parentElement.querySelector(".lambc-loading")?.remove();
    parentElement.querySelector(".lambc-tools")?.remove();
    loadPlotly(data.plotly).catch(() => {}); // the first chart tries again, and says so
    return;
  }
  let view = views.get(parentElement);
  if (!view) {
    view = {
      chart: parentElement.querySelector(".lambc-chart"),
      loading: parentElement.querySelector(".lambc-loading"),
      tools: parentElement.querySelector(".lambc-tools"),
      reported: null,
    };
    views.set(parentElement, view);
  }
  view.component = component;
  view.gone = false;
  view.chart.style.height = data.height + "px";
  view.chart.setAttribute("role", "img");
  view.chart.tabIndex = 0;
  view.chart.setAttribute("aria-label", data.label);
  draw(view).catch((error) => {
    view.loading.hidden = false;
    view.loading.textContent = error.message;
  });
  return () => {
    view.gone = true;
    view.sizes?.disconnect();
    if (view.listening) window.Plotly.purge(view.chart);
    views.delete(parentElement);
  };
}
