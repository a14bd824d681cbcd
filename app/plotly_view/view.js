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

// What app/plotly_view/packed.py has packed: four bytes that say how long the JSON is, the JSON, and what follows it.
function withHead(bytes) {
  const end = 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return [new TextDecoder().decode(bytes.subarray(4, end)), bytes.subarray(end)];
}

async function unpacked(figure) {
  const stream = new Blob([figure]).stream().pipeThrough(new DecompressionStream("deflate"));
  const [drawn, arrays] = withHead(new Uint8Array(await new Response(stream).arrayBuffer()));
  return JSON.parse(drawn, (_, part) => {
    if (!part?.at || !part.dtype) return part;
    const { at, ...array } = part;
    return { ...array, bdata: inOrder(arrays.subarray(at[0], at[0] + at[1]), Number(array.dtype.slice(1))) };
  });
}

// The first bytes of all elements stand together, then the second, and so on.
function inOrder(stored, itemSize) {
  const bytes = new Uint8Array(stored.length);
  const count = stored.length / itemSize;
  for (let which = 0; which < itemSize; which++) {
    for (let place = 0; place < count; place++) bytes[place * itemSize + which] = stored[which * count + place];
  }
  return bytes.buffer;
}

// From half a step before the first whole step that is shown to half a step after the last, as the answer will have it.
function shownSteps(element) {
  const axis = element._fullLayout?.xaxis;
  if (!axis || axis.autorange) return null;
  const [first, last] = axis.range.map(Number);
  return [Math.ceil(first) - 0.5, Math.floor(last) + 0.5];
}

function background(chart) {
  // On the page a chart is transparent; a picture of it is looked at elsewhere.
  return getComputedStyle(chart).getPropertyValue("--st-background-color").trim() || "white";
}

const LONGEST_NAME = 150; // a file's, without its ending

function fileName(view) {
  const { label, of } = view.data;
  const name = `${label} ${of}`.toLowerCase().replace(/[^\p{L}\p{N}.]+/gu, "-");
  return name.slice(0, LONGEST_NAME).replace(/^[-.]+|[-.]+$/g, "");
}

function save(view, href, extension) {
  const link = document.createElement("a");
  link.href = href;
  link.download = `${fileName(view)}.${extension}`;
  link.click();
}

// Two lines under a saved picture: what it shows, and of which runs, bounds and steps.
function captioned(view) {
  const { label, of } = view.data;
  const { margin, annotations = [] } = view.chart.layout;
  const caption = {
    text: `<b>${escaped(label)}</b>${of ? `<br>${escaped(of)}` : ""}`,
    ...{ x: 0, xref: "paper", xanchor: "left", xshift: 8 - margin.l, align: "left" },
    ...{ y: 0, yref: "paper", yanchor: "top", yshift: -margin.b },
    ...{ showarrow: false, font: { size: 12 } },
  };
  return { margin: { ...margin, b: margin.b + 44 }, annotations: [...annotations, caption] };
}

async function savePicture(view, format) {
  const { chart } = view;
  const colour = background(chart);
  const layout = { ...chart.layout, ...captioned(view), paper_bgcolor: colour, plot_bgcolor: colour };
  const height = chart.clientHeight + (layout.margin.b - chart.layout.margin.b);
  const size = { width: chart.clientWidth, height, scale: format === "png" ? 2 : 1 };
  const picture = await window.Plotly.toImage({ data: chart.data, layout }, { format, ...size });
  save(view, picture, format);
}

function plain(text) {
  // What Plotly shows of a text: it reads a little HTML.
  return new DOMParser().parseFromString(String(text ?? ""), "text/html").body.textContent;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
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

// What is drawn, a row a point or a cell: its series, what meta.of says, its place, its values in the table's columns.
// Where a chart draws something else than it says, as logarithms, meta.columns names what customdata has, and meta.x has
// the places; meta.digits says how many digits of each column are more than rounding. meta.layers are those of a trace
// of several curves with a gap between two of them.
function rowsDrawn(trace, every) {
  const { of, columns, digits, x: along = trace.x ?? [], layers = [] } = trace.meta ?? {};
  const row = (x, layer, ...values) => {
    if (values.length && field(values[0]) === "") return []; // a gap
    return [[trace.name, of, x, layer, ...every.map((column) => values[(columns ?? ["value"]).indexOf(column)])]];
  };
  const data = columns && trace.customdata;
  if (trace.orientation === "h") {
    return Array.from(trace.y).flatMap((layer, place) => row("", layer, ...several(data?.[place] ?? trace.x[place])));
  }
  if (trace.type !== "heatmap") {
    let curve = 0;
    return Array.from(along).flatMap((x, place) => {
      const y = trace.y[place];
      if (Number.isNaN(x)) curve++;
      // A mark at a layer, or a point of a curve.
      return typeof y === "string" ? row(x, y, ...several(data?.[place] ?? [])) : row(x, layers[curve], y);
    });
  }
  const told = (value, place) => (digits ? Number(value.toPrecision(digits[place])) : value);
  const first = trace.x0 - (trace.dx - 1) / 2; // x0 is the middle of a cell, which begins at a whole step
  const place = (column) => trace.x?.[column] ?? (trace.y && first + column * trace.dx); // of boxes side by side none
  return Array.from(data).flatMap((cells, at) =>
    Array.from(cells).flatMap((cell, column) => row(place(column), trace.y?.[at], ...several(cell).map(told))),
  );
}

function saveTable(view) {
  const { xaxis, meta = {} } = view.chart._fullLayout;
  const { of = "of", along = title(xaxis, "x"), rows: down = "layer" } = meta;
  const drawn = view.chart._fullData.filter((trace) => trace.fill !== "toself"); // an area, whose edges are traces, too
  const columns = [...new Set(drawn.flatMap((trace) => trace.meta?.columns ?? ["value"]))];
  const rows = drawn.flatMap((trace) => rowsDrawn(trace, columns));
  // A point that stands for several steps lies in their middle: of two, the first.
  if (along === "step") for (const row of rows) if (typeof row[2] === "number") row[2] = Math.floor(row[2]);
  const head = ["series", of, along, down, ...columns];
  const filled = [...head.keys()].filter((place) => rows.some((row) => (row[place] ?? "") !== ""));
  const lines = [head, ...rows].map((row) => filled.map((place) => field(row[place])).join(","));
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

const PHONE = 640; // pixels of a page, as in style.css

function shortened(text, most) {
  const whole = plain(text);
  return escaped(whole.length > most ? `…${whole.slice(1 - most)}` : whole);
}

// On a phone the names of layers and a bar of colours would leave a seventh of the width to the data.
function makeNarrow(layout) {
  layout.margin = { ...layout.margin, l: Math.min(layout.margin.l, 84), r: Math.min(layout.margin.r, 14) };
  for (const axis of Object.values(layout).filter((part) => Array.isArray(part?.ticktext) && part.type === "category")) {
    const most = axis.ticklabelstandoff > 20 ? 10 : 13; // between some names and the plot are the numbers of blocks
    axis.ticktext = axis.ticktext.map((text) => shortened(text, most));
  }
  for (const label of layout.annotations ?? []) {
    if (label.x === 0 && label.xanchor === "right") label.text = shortened(label.text, 10);
  }
  if (!layout.coloraxis) return;
  const lying = { orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "top", yref: "container", len: 1, thickness: 8 };
  layout.coloraxis.colorbar = { ...layout.coloraxis.colorbar, ...lying };
  layout.margin.t += 34;
  layout.height += 34; // rows stay whole pixels high
}

// Some steps with as many before and after them as make the picture of an incident.
function showAround(view, first, last) {
  const [start, end] = view.chart._fullLayout.xaxis.range.map(Number);
  const room = Math.max(25, Math.min(2 * (last - first), (end - start) / 4));
  window.Plotly.relayout(view.chart, { "xaxis.range": [first - room, last + room] });
}

// Scroll so far that a chart, and what belongs to it, is in sight; once for each thing that was asked for.
function reveal(view) {
  const { reveal: wanted, reveal_with: key } = view.data;
  if (!wanted || wanted === view.revealed) return;
  view.revealed = wanted;
  const part = view.chart.closest(key ? `.st-key-${key}` : "div") ?? view.chart;
  part.scrollIntoView({ behavior: "smooth", block: "nearest" });
}

// Rows are whole pixels high, so the chart begins at a whole pixel: else each row would be smeared over two.
function align(view) {
  const { chart } = view;
  chart.style.marginTop = "0px";
  let top = chart.getBoundingClientRect().top;
  for (let part = chart.parentElement; part; part = part.parentElement) top += part.scrollTop;
  const over = top - Math.floor(top);
  if (over > 0.01) chart.style.marginTop = `${1 - over}px`;
}

async function draw(view) {
  const { data } = view;
  if (view.drawn === data.token) return reveal(view);
  const [Plotly, figure] = await Promise.all([loadPlotly(data.plotly), unpacked(data.figure)]);
  if (view.gone || view.drawn === data.token || view.data.token !== data.token) return;
  view.drawn = data.token;
  view.turn = data.turn;
  figure.layout.uirevision = `${data.keep_zoom} ${data.turn}`;
  if (window.innerWidth < PHONE) makeNarrow(figure.layout);
  view.chart.style.height = `${figure.layout.height}px`;
  const config = {
    displaylogo: false,
    displayModeBar: false,
    responsive: false,
    doubleClick: "autosize",
    showTips: false,
  };
  await Plotly.react(view.chart, figure.data, figure.layout, config);
  view.chart.dataset.drawn = data.token;
  if (!view.listening) performance.mark(`first drawn: ${data.label}`);
  const mark = `drawn: ${data.label}`;
  performance.clearMarks(mark); // a page may stay open for days
  performance.mark(mark);
  view.loading.hidden = true;
  align(view);
  if (!view.listening) {
    listen(view, Plotly);
    view.reported = shownSteps(view.chart); // the server knows what it has just sent
  }
  report(view);
  reveal(view);
}

// The widest of some widths that the plot has room for: cells are fetched for it, so that none is thinner than a pixel.
function reportWidth(view) {
  const { widths, width } = view.data;
  const plot = view.chart._fullLayout?._size?.w;
  if (!widths.length || !plot) return;
  const room = Math.max(widths[0], ...widths.filter((each) => each < plot));
  if (room === (view.width ?? width)) return;
  view.width = room;
  view.component.setStateValue("width", room);
}

function report(view) {
  reportWidth(view);
  if (!view.data.report_zoom) return;
  const edges = shownSteps(view.chart);
  if (JSON.stringify(edges) === JSON.stringify(view.reported)) return;
  view.reported = edges;
  view.component.setStateValue("range", { edges, turn: view.turn });
}

function listen(view, Plotly) {
  view.listening = true;
  offerFiles(view);
  view.chart.addEventListener("keydown", (event) => onKey(view, event));
  view.chart.on("plotly_relayout", () => report(view));
  view.chart.on("plotly_click", ({ points: [point] }) => {
    const place = Array.isArray(point.pointIndex) ? point.pointIndex : [null, point.pointIndex];
    const row = place[0] === null ? null : place[0] + (point.data.meta?.first_row ?? 0);
    const x = Number(point.x);
    const beside = ((point.data.dx ?? 1) - 1) / 2;
    view.component.setTriggerValue("cell", { row, x, first: x - beside, last: x + beside, trace: point.curveNumber });
  });
  view.chart.on("plotly_clickannotation", ({ annotation: { name = "" } }) => {
    const [what, first, last] = name.split(":");
    if (what === "steps") showAround(view, Number(first), Number(last));
    else if (name) view.component.setTriggerValue("cell", { label: name });
  });
  let width = view.chart.clientWidth;
  view.sizes = new ResizeObserver(() => {
    if (!view.chart.isConnected || !view.chart.clientWidth) return;
    if (view.chart.clientWidth !== width) {
      width = view.chart.clientWidth;
      Plotly.Plots.resize(view.chart).then(() => reportWidth(view));
    }
    align(view);
  });
  view.sizes.observe(view.chart);
  // What stands above the chart may take its height after the chart was drawn.
  const page = view.chart.closest("[data-testid=stMainBlockContainer]");
  if (page) view.sizes.observe(page);
}

export default function (component) {
  const { parentElement } = component;
  const [head, figure] = withHead(component.data);
  const data = { ...JSON.parse(head), figure };
  if (!figure.length) {
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
    };
    views.set(parentElement, view);
  }
  view.component = component;
  view.data = data;
  view.gone = false;
  if (!view.drawn) view.chart.style.height = `${data.height}px`;
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
