// A run that is followed: new curves and images as they come, how far it is and how long it takes.

const SECONDS_BETWEEN = 2;
// A run writes its progress every few seconds; after this long without, something is wrong.
const SILENT_AFTER = 90;

function duration(seconds) {
  if (seconds == null) return null;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} min`;
}

function speed(secondsPerUnit) {
  if (!secondsPerUnit) return null;
  return secondsPerUnit >= 1 ? `${secondsPerUnit.toFixed(2)} s/it` : `${(1 / secondsPerUnit).toFixed(2)} it/s`;
}

// The server's clock beside the reader's, in seconds.
let ahead = 0;
const serverNow = () => Date.now() / 1000 + ahead;
const silence = (run) => serverNow() - run.progress.updated;

// What a run that is not finished is doing.
function condition(run) {
  if (!run.progress) return "not finished";
  if (run.progress.state !== "running") return run.progress.state;
  return silence(run) > SILENT_AFTER ? "cut off" : "under way";
}

function progressOf(run) {
  const { progress } = run;
  const box = make("article", { className: "running", "data-run": run.folder }, make("h3", {}, label(run)));
  if (!progress) {
    box.append(make("p", { className: "note" }, "It has no record and says nothing of its progress: it was cut off, or is about to begin."));
    return box;
  }
  const isRunning = condition(run) === "under way";
  const what = isRunning ? "running" : condition(run) === "cut off" ? `no sign of life for ${duration(silence(run))}` : progress.state;
  const parts = [what, progress.phase && `${progress.phase} ${progress.done} of ${progress.total}`, speed(progress.seconds_per_unit),
    progress.message, isRunning && progress.seconds_left != null && `${duration(progress.seconds_left)} left`];
  box.append(make("progress", { max: 1, value: progress.fraction ?? 0, "aria-label": "how far the run is" }),
    make("p", {}, parts.filter(Boolean).join(", ")));
  if (progress.error) box.append(make("p", { className: "banner" }, progress.error));
  if (progress.warnings?.length) {
    const isOpen = document.querySelector(`.running[data-run="${CSS.escape(run.folder)}"] details`)?.open ?? false;
    box.append(make("details", { open: isOpen }, make("summary", {}, `${progress.warnings.length} warnings`),
      make("ul", {}, ...progress.warnings.map((text) => make("li", {}, text)))));
  }
  return box;
}

function drawLive() {
  const under = data.runs.filter((run) => !run.finished);
  $("live").replaceChildren(...(under.length ? [make("h2", {}, "Not finished"), ...under.map(progressOf)] : []));
}

function follow() {
  if (!data.live) return;
  let tag = null;
  const finished = () => data.runs.filter((run) => run.finished).map((run) => run.folder).join("\n");
  const ask = async () => {
    try {
      const answer = await fetch("data.json", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (answer.status !== 200 && answer.status !== 304) throw new Error(answer.statusText);
      if (answer.status === 200) {
        tag = answer.headers.get("ETag");
        const before = finished();
        const { runs, now } = await answer.json();
        const pictures = JSON.stringify(data.runs.map((run) => [run.folder, run.sets]));
        const curves = JSON.stringify(data.runs.map((run) => run.curves));
        data.runs = runs;
        // The table, the answers and the details are the server's: they are there once a run has ended.
        if (finished() !== before) { keep(); location.reload(); return; }
        ahead = now - Date.now() / 1000;
        if (JSON.stringify(runs.map((run) => run.curves)) !== curves) updateCharts();
        if (JSON.stringify(runs.map((run) => [run.folder, run.sets])) !== pictures) { drawRuns(); drawPictures(); }
      }
      drawLive();
      document.body.classList.remove("lost");
    } catch {
      document.body.classList.add("lost");
    }
    setTimeout(ask, 1000 * SECONDS_BETWEEN);
  };
  ask();
}
