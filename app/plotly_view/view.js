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
