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
    loadPlotly(data.plotly).catch(() => {}); // the first chart tries again, and says so
    return;
  }
  let view = views.get(parentElement);
  if (!view) {
    view = {
      chart: parentElement.querySelector(".lambc-chart"),
      loading: parentElement.querySelector(".lambc-loading"),
      reported: null,
    };
    views.set(parentElement, view);
  }
  view.component = component;
  view.gone = false;
  view.chart.style.height = data.height + "px";
  view.chart.setAttribute("role", "img");
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
