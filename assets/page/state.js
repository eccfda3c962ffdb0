// What the page knows and what its reader has chosen.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

// Okabe and Ito's colors without the yellow, as in the drawn curves; the last follows the theme.
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", null];
const DASHES = [[], [8, 4], [3, 3], [14, 4]];
// A run's place among all by its folder: it stays the same when the run ends.
const place = (run) => data.runs.filter((other) => other.folder < run.folder).length;
const color = (index) => COLORS[index % COLORS.length] ?? style("--ink");
const dash = (index) => DASHES[index % DASHES.length];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// An element with properties and children; text is always text.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name.startsWith("data-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const state = {
  off: new Set(), // folders of the runs that are switched off
  across: data.runs.length > 1 ? "run" : "prompt",
  run: null, // a folder
  prompt: null,
  image: 0,
  step: Infinity, // the newest images of each run
  split: 50,
  smoothing: null, // steps; null: a tenth of the longest run
  log: false,
  theme: "",
};

// Survives a reload where the browser keeps anything for this page.
const KEPT = "tunelab:" + location.pathname;
function keep() {
  const { off, step, ...plain } = state;
  const text = JSON.stringify({ ...plain, step: Number.isFinite(step) ? step : null, off: [...off] });
  try { sessionStorage.setItem(KEPT, text); } catch { /* nothing is kept then */ }
}
function recall() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    Object.assign(state, kept, { off: new Set(kept.off ?? []), step: kept.step ?? Infinity });
  } catch { /* it begins anew */ }
}

const runOf = (folder) => data.runs.find((run) => run.folder === folder);
const shown = () => data.runs.filter((run) => !state.off.has(run.folder));
const label = (run) => (run.standIn ? run.name.replace(/-stand-in$/, "") + " (stand-in)" : run.name) + (run.finished ? "" : `, ${condition(run)}`);
