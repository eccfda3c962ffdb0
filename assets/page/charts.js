// Curves of losses and metrics over steps, drawn by uPlot: zoom, values under the pointer, average, logarithm.

let charts = [];
// More lines than this are drawn without the values of each step below their average.
const FEW = 3;

// The moving average over about `span` points, with the zero start's weight divided out, as in the drawn curves.
function average(values, span) {
  const keepShare = 1 - 2 / (Math.max(span, 1) + 1);
  let sum = 0, weight = 0;
  return values.map((value) => {
    sum = keepShare * sum + (1 - keepShare) * value;
    weight = keepShare * weight + (1 - keepShare);
    return sum / weight;
  });
}

const longest = () => Math.max(1, ...data.runs.flatMap((run) => run.curves.filter((c) => c.noisy).map((c) => c.y.length * c.every)));
const usualSpan = () => Math.min(Math.max(Math.floor(longest() / 10), 5), 500);
const span = () => state.smoothing ?? usualSpan();

// A value as it was logged, at most nine digits of it.
const exact = (value) => (value == null ? "–" : String(Number(value.toPrecision(9))));

// A value at an axis; a logarithmic axis leaves some out.
const short = (value) => (value == null ? "" : value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential() : String(Number(value.toPrecision(6))));

// The values at the pointer: of the runs nearest to it, if there are many.
function tooltip(series) {
  const box = make("div", { className: "tooltip", hidden: true });
  const MOST = 12;
  return {
    hooks: {
      init: (u) => u.over.append(box),
      setCursor: (u) => {
        const { left, top, idx } = u.cursor;
        box.hidden = idx == null || left < 0;
        if (box.hidden) return;
        const x = u.data[0][idx];
        const rows = series.map(({ run, index, values, mean }) => ({ run, index, value: values[idx], mean: mean && u.data[mean][idx] }))
          .filter((row) => row.value != null);
        const distance = (row) => Math.abs(u.valToPos(row.mean ?? row.value, "y") - top);
        rows.sort((a, b) => distance(a) - distance(b));
        const kept = rows.slice(0, MOST);
        box.replaceChildren(make("b", {}, `step ${x}`), ...kept.map((row) => {
          const dot = make("span", { className: "dot" });
          dot.style.background = color(row.index);
          const mean = row.mean != null && row.mean !== row.value ? ` (average ${exact(row.mean)})` : "";
          return make("div", {}, dot, `${label(row.run)}: ${exact(row.value)}${mean}`);
        }));
        if (rows.length > MOST) box.append(make("div", {}, `and ${rows.length - MOST} more`));
        const right = left > u.over.clientWidth / 2;
        box.style.left = right ? "" : `${left + 14}px`;
        box.style.right = right ? `${u.over.clientWidth - left + 14}px` : "";
        box.style.top = `${Math.min(top + 8, Math.max(u.over.clientHeight - box.clientHeight, 0))}px`;
      },
    },
  };
}

function chart(name, width) {
  const drawn = shown().map((run) => ({ run, curve: run.curves.find((curve) => curve.name === name) })).filter(({ curve }) => curve);
  if (!drawn.length) return null;
  const isNoisy = drawn[0].curve.noisy && span() > 1;
  const logarithmic = state.log && drawn.every(({ curve }) => curve.y.every((value) => value > 0));
  // The values of the log at the steps of all runs; the averages at the same steps.
  const [x, ...logged] = uPlot.join(drawn.map(({ curve }) => [curve.x, curve.y]));
  const means = isNoisy ? uPlot.join(drawn.map(({ curve }) => [curve.x, average(curve.y, span() / curve.every)])).slice(1) : [];
  const [columns, series, parts] = [[x], [{ label: "step" }], []];
  const add = (values, options) => { columns.push(values); series.push(options); };
  for (const [at, { run, curve }] of drawn.entries()) {
    const index = place(run);
    const line = { label: run.name, stroke: color(index), dash: dash(index), width: 2, spanGaps: true };
    const part = { run, index, values: logged[at], mean: null };
    if (isNoisy) {
      if (drawn.length <= FEW) add(logged[at], { ...line, dash: [], width: 0.6, alpha: 0.35, points: { show: false } });
      part.mean = columns.length;
      add(means[at], { ...line, points: { show: curve.x.length === 1, size: 6 } });
    } else {
      add(logged[at], { ...line, points: { show: curve.x.length <= 40, size: 6, fill: color(index) } });
    }
    parts.push(part);
  }
  const axis = { stroke: style("--ink"), grid: { stroke: style("--grid"), width: 1 }, ticks: { stroke: style("--grid"), width: 1 } };
  const options = {
    width, height: Math.round(Math.min(Math.max(width * 0.5, 200), 320)),
    scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
    axes: [{ ...axis, label: "step", labelSize: 22 }, { ...axis, size: 64, values: (_, places) => places.map(short) }],
    series, legend: { show: false },
    cursor: { sync: { key: "tunelab", setSeries: false }, drag: { x: true, y: false }, points: { size: 6 } },
    plugins: [tooltip(parts)],
  };
  const every = Math.max(...drawn.map(({ curve }) => curve.every));
  const note = every > 1 ? ` (every ${every}. step of the log)` : "";
  const figure = make("figure", { className: "chart", "data-name": name }, make("figcaption", {}, name + note));
  figure.setAttribute("role", "img");
  figure.setAttribute("aria-label", `${name} of ${drawn.map(({ run }) => run.name).join(", ")}; the numbers are in each run's loss.csv`);
  figure.style.minHeight = `${options.height + 30}px`;
  return { name, columns, parts, place: figure, plot: null, draw() { this.plot = new uPlot(options, this.columns, figure); } };
}

// One chart after the other, so that the page answers meanwhile.
let drawing = 0;
function drawNext(turn, waiting) {
  if (turn !== drawing || !waiting.length) return;
  waiting[0].draw();
  setTimeout(drawNext, 0, turn, waiting.slice(1));
}

// New values in the charts that are there, as far as they were zoomed; others are drawn anew.
function updateCharts() {
  const next = names().map((name) => chart(name, 600)).filter(Boolean);
  const isSame = next.length === charts.length && next.every((other, at) =>
    charts[at].plot && other.name === charts[at].name && other.columns.length === charts[at].columns.length);
  if (!isSame) { drawCharts(); return; }
  for (const [at, { columns, parts }] of next.entries()) {
    const { plot, columns: before } = charts[at];
    const isZoomed = plot.scales.x.min > before[0][0] || plot.scales.x.max < before[0].at(-1);
    charts[at].parts.splice(0, Infinity, ...parts);
    charts[at].columns = columns;
    plot.setData(columns, !isZoomed);
  }
}

const names = () => unique(shown().flatMap((run) => run.curves.map((curve) => curve.name)));

function drawCharts() {
  charts.forEach(({ plot }) => plot?.destroy());
  const room = $("charts").clientWidth;
  const columns = room >= 900 ? 2 : 1;
  $("charts").style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  const width = Math.floor((room - 24 * (columns - 1)) / columns);
  charts = names().map((name) => chart(name, width)).filter(Boolean);
  $("charts").replaceChildren(...charts.map(({ place }) => place));
  setTimeout(drawNext, 0, ++drawing, charts);
  if (!charts.length) $("charts").append(make("p", { className: "note" }, "No run that is shown has curves."));
  const least = 1, most = Math.max(Math.floor(longest() / 2), 2);
  // The slider is logarithmic: from each step alone to half of the longest run.
  $("smoothing").value = 100 * Math.log(span() / least) / Math.log(most / least);
  $("smoothing-label").value = span() > 1 ? `${span()} steps` : "each step";
  $("log-axis").checked = state.log;
}

function listenToCharts() {
  $("smoothing").oninput = (event) => {
    const most = Math.max(Math.floor(longest() / 2), 2);
    state.smoothing = Math.max(1, Math.round(most ** (event.target.valueAsNumber / 100)));
    drawCharts();
    keep();
  };
  $("log-axis").onchange = (event) => { state.log = event.target.checked; drawCharts(); keep(); };
  $("reset-zoom").onclick = drawCharts;
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) > 1) { width = entry.contentRect.width; drawCharts(); }
  }).observe($("charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
}
