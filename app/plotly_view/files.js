// Saves what a chart shows: a picture with two lines that say of what it is, or a table of the rows that are drawn.
// One module with view.js, which calls offerFiles.

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

