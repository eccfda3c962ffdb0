// The page comes to life: theme, the switches of the runs, and everything once.

function setTheme(theme) {
  state.theme = theme;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = { light: "Theme: light", dark: "Theme: dark" }[theme] ?? "Theme: system";
}

// A switch for each run; of many runs a field that finds them by their names.
function drawRuns() {
  const isMany = data.runs.length > 12;
  const find = make("input", { type: "search", placeholder: "find runs", "aria-label": "find runs by name" });
  const switches = data.runs.map((run) => {
    const dot = make("span", { className: "dot" });
    dot.style.background = color(place(run));
    return make("button", {
      type: "button", className: "run", title: label(run), "aria-pressed": String(!state.off.has(run.folder)), "data-run": run.folder,
      onclick() {
        if (state.off.has(run.folder)) state.off.delete(run.folder);
        else state.off.add(run.folder);
        drawShown();
      },
    }, dot, label(run));
  });
  const set = (isOff) => () => {
    for (const [at, run] of data.runs.entries()) {
      if (switches[at].hidden) continue;
      if (isOff) state.off.add(run.folder);
      else state.off.delete(run.folder);
    }
    drawShown();
  };
  find.oninput = () => switches.forEach((button, at) => {
    button.hidden = !data.runs[at].name.toLowerCase().includes(find.value.toLowerCase());
  });
  const all = make("button", { type: "button", onclick: set(false) }, "all");
  const none = make("button", { type: "button", onclick: set(true) }, "none");
  $("runs").replaceChildren(make("span", { className: "label" }, "Runs"), ...(isMany ? [find] : []), all, none,
    make("div", { className: "switches" }, ...switches));
  $("runs").hidden = data.runs.length < 2;
}

function drawShown() {
  for (const button of document.querySelectorAll("#runs button.run")) {
    button.setAttribute("aria-pressed", String(!state.off.has(button.dataset.run)));
  }
  drawPictures();
  drawCharts();
  showRows();
  keep();
}

document.documentElement.classList.add("script");
recall();
setTheme(state.theme);
setSplit(state.split);
$("theme").onclick = () => {
  setTheme({ "": "light", light: "dark", dark: "" }[state.theme]);
  drawRuns();
  drawCharts();
  keep();
};
drawRuns();
listenToPictures();
listenToTable();
drawPictures();
showRows();
drawCharts();
listenToCharts();
if (data.live) drawLive();
follow();
// What is folded is wanted on paper.
addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((folded) => {
  folded.open = true;
  folded.dataset.printed = "";
}));
addEventListener("afterprint", () => document.querySelectorAll("details[data-printed]").forEach((folded) => {
  folded.open = false;
  delete folded.dataset.printed;
}));
