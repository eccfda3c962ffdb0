// The page and the server, used as a reader uses them, in headless Chromium.
//
// node scripts/browser/check.mjs [--tunelab target/debug/tunelab] [--tree RESULTS] [--out FOLDER]
//
// In: the program. Out: a line for each thing tried, pictures and a PDF of the page in FOLDER, exit code 1 if anything failed.
// With --tree the pictures are of those results; else of a small tree that is made here. Needs Chromium and Node 18.

import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Chromium, sleep } from "./chromium.mjs";
import { setImages, writeRun } from "./trees.mjs";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const given = (name, usual) => {
  const at = process.argv.indexOf(`--${name}`);
  return at > 0 ? resolve(process.argv[at + 1]) : usual;
};
const tunelab = given("tunelab", join(root, "target/debug/tunelab"));
const work = mkdtempSync(join(tmpdir(), "tunelab-page-"));
const out = given("out", join(work, "pictures"));
const address = (folder, file = "index.html") => pathToFileURL(join(folder, file)).href;

let failed = 0;
function check(what, holds, more = "") {
  console.log(`${holds ? "ok    " : "FAILED"} ${what}${holds || !more ? "" : `: ${more}`}`);
  failed += holds ? 0 : 1;
}

function run(...options) {
  const done = spawnSync(tunelab, options, { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`tunelab ${options.join(" ")}: ${done.stderr}`);
  return done;
}

const count = (page, selector) => page.ask(`document.querySelectorAll(${JSON.stringify(selector)}).length`);
const text = (page, selector) => page.ask(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ""`);
const choose = (page, id, value) => page.ask(`(() => { const e = document.getElementById("${id}"); e.value = ${JSON.stringify(value)};
  e.dispatchEvent(new Event("input", { bubbles: true })); e.dispatchEvent(new Event("change", { bubbles: true })); })()`);
const sources = (page) => page.ask(`[...document.querySelectorAll("#cards img.tuned")].map((i) => decodeURI(i.getAttribute("src")))`);
const allLoaded = (page) => page.until(`[...document.querySelectorAll("#cards img")].length > 0 &&
  [...document.querySelectorAll("#cards img")].every((i) => { i.loading = "eager"; return i.complete && i.naturalWidth > 0; })`, "all images of the cards load");

const EVIL = "<img src=x onerror=alert(1)>";
const PROMPTS = ["a dog", "a \"dog\" </script><script>alert(2)</script> & 🐶 '"];

function smallTree(folder) {
  const sets = setImages(join(work, "sets"), ["base", "step-000100", "step-000200", "tuned"]);
  // The folder of the second prompt has a hash, which `tunelab` knows.
  const slug = "a-dog-script-script-alert-2-script_cf7d7fde";
  const common = { prompts: PROMPTS, sets, images: 2, folders: ["a-dog", slug], about: "Does it <b>learn</b>?" };
  ["first", "second", "third"].forEach((name, n) => writeRun(folder, { ...common, name, seed: 42 + n, lr: 1e-4 * (n + 1), value: n / 2 }));
  writeRun(folder, { ...common, name: EVIL, folder: "evil", steps: 400, value: 0.7 });
  return slug;
}

async function smallPage(browser) {
  const folder = join(work, "results");
  smallTree(folder);
  run("report", "--results", folder, "--single-file");
  const page = await browser.open(address(folder));
  await page.size(1440, 900);
  check("a reader without a script: the curve is a drawing, no control is shown",
    await page.ask(`(() => { const frame = new DOMParser().parseFromString(document.documentElement.outerHTML, "text/html");
      return frame.querySelector("figure.drawn svg") !== null && frame.querySelectorAll(".scripted").length > 3; })()`));
  check("a name with a tag is text", (await count(page, "img[src='x']")) === 0 && (await page.ask(`document.body.textContent.includes(${JSON.stringify(EVIL)})`)));
  check("a question with a tag is text", (await text(page, "#answers h2")) === "Does it <b>learn</b>?");
  check("a card for each run", (await count(page, "#cards .card")) === 4, String(await count(page, "#cards .card")));
  await allLoaded(page);

  await page.hover("#cards .compare", 0.2);
  check("the line follows the pointer", (await page.ask(`getComputedStyle(document.documentElement).getPropertyValue("--split")`)) === "20%");
  await choose(page, "split", "80");
  check("the slider moves the line of all", (await page.ask(`getComputedStyle(document.querySelectorAll("img.tuned")[2]).clipPath`)).includes("80%"));
  check("the newest images are shown first", (await sources(page)).every((source) => source.includes("/tuned/")));
  await choose(page, "step", "0");
  check("the step slider shows the first step of all runs", (await sources(page)).every((source) => source.includes("/step-000100/")), (await sources(page)).join());
  await choose(page, "step", "99");
  await choose(page, "prompt", "1");
  await allLoaded(page);
  check("another prompt", (await text(page, "#cards figcaption")).includes(PROMPTS[1]));
  await choose(page, "image", "1");
  check("another seed", (await sources(page)).every((source) => source.endsWith("/1.png")) && (await text(page, "#cards .card small")).startsWith("seed 43"));
  for (const [across, cards] of [["prompt", 2], ["image", 2], ["step", 3], ["run", 4]]) {
    await choose(page, "across", across);
    check(`across ${across}s`, (await count(page, "#cards .card")) === cards, String(await count(page, "#cards .card")));
  }

  await choose(page, "prompt", "0");
  await page.click("#cards .card button");
  const caption = () => text(page, "#full-caption");
  check("full screen says prompt, seed, run and step", (await caption()) === `“a dog”, seed 43, ${EVIL}, base | tuned`, await caption());
  await page.key("ArrowRight");
  check("right: the next prompt", (await caption()).startsWith(`“${PROMPTS[1]}”`), await caption());
  await page.key("ArrowLeft");
  await page.key("ArrowDown");
  check("down: the step before", (await caption()).endsWith("step 200"), await caption());
  await page.key("ArrowUp");
  check("up: the next step", (await caption()).endsWith("tuned"), await caption());
  await page.key("]");
  check("]: the next run", (await caption()).includes("seed 43, first"), await caption());
  await page.key(".");
  check(".: the next seed, from the last to the first", (await caption()).includes("seed 42"), await caption());
  await page.photograph(join(out, "full-screen.png"), false);
  await page.key("Escape");
  check("Escape closes it", !(await page.ask(`document.getElementById("full-screen").open`)));
  await page.ask(`document.querySelector("#cards .card button").focus()`);
  await page.key("Enter");
  check("Enter opens it", await page.ask(`document.getElementById("full-screen").open`));
  await page.click("#full-close");

  const column = (name) => page.ask(`[...document.querySelectorAll("#runs-table th")].findIndex((h) => h.textContent === ${JSON.stringify(name)})`);
  const at = await column("s/it");
  const values = () => page.ask(`[...document.querySelectorAll("#runs-table tbody tr")].map((r) => Number(r.cells[${at}].dataset.value))`);
  const sorted = (numbers, sign) => numbers.every((number, n) => n === 0 || sign * (number - numbers[n - 1]) >= 0);
  await page.click(`#runs-table th:nth-child(${at + 1}) button`);
  check("a click sorts", sorted(await values(), 1), String(await values()));
  await page.click(`#runs-table th:nth-child(${at + 1}) button`);
  check("another one the other way", sorted(await values(), -1) && (await count(page, "th[aria-sort=descending]")) === 1, String(await values()));

  const drawn = `document.querySelectorAll(".chart").length === document.querySelectorAll(".chart canvas").length`;
  await page.until(drawn);
  check("a chart for each curve", (await count(page, ".chart canvas")) >= 6, String(await count(page, ".chart canvas")));
  await page.hover(".chart[data-name='evaluation loss'] .u-over", 0.999, 0.5);
  await page.until(`document.querySelector(".chart[data-name='evaluation loss'] .tooltip")?.hidden === false`, "values under the pointer");
  const log = readFileSync(join(folder, "evil/eval.csv"), "utf8").trim().split("\n").at(-1).split(",");
  const shown = await text(page, ".chart[data-name='evaluation loss'] .tooltip");
  check("values under the pointer are those of the log", shown.includes(`step ${log[0]}`) && shown.includes(`: ${Number(log[1])}`), shown);
  const labels = async () => { await page.until(drawn); return page.ask(`(() => { const c = document.querySelector(".chart[data-name='training loss'] canvas"); return c.toDataURL(); })()`); };
  const before = await labels();
  await page.drag(".chart[data-name='training loss'] .u-over", 0.3, 0.6);
  check("a drag zooms", (await labels()) !== before);
  await page.click("#reset-zoom");
  check("a button shows all again", (await labels()) === before);
  await page.ask(`document.getElementById("log-axis").click()`);
  check("a logarithmic axis", (await labels()) !== before);
  await page.ask(`document.getElementById("log-axis").click()`);
  await choose(page, "smoothing", "0");
  check("each step alone", (await text(page, "#smoothing-label")) === "each step" && (await labels()) !== before);

  await page.click("#runs button.run");
  check("a run that is off has no card and no row", (await count(page, "#cards .card")) === 3 && (await count(page, "#runs-table tbody tr:not([hidden])")) === 3);
  await page.click("#runs button.run");
  const paper = () => page.ask(`getComputedStyle(document.body).backgroundColor`);
  const light = await paper();
  await page.click("#theme");
  await page.click("#theme");
  check("a dark theme", (await paper()) !== light && (await text(page, "#theme")) === "Theme: dark");
  await page.click("#theme");
  check("no complaint", page.complaints.length === 0, page.complaints.join("; "));
  check("no request but for files of the tree", page.requests.every((url) => url.startsWith(address(folder, "")) || url.startsWith("data:")), page.requests.find((url) => !url.startsWith("file:")));
  await page.close();

  const moved = join(work, "moved elsewhere");
  renameSync(folder, moved);
  const again = await browser.open(address(moved));
  await again.size(1440, 900);
  await allLoaded(again);
  check("the folder may be moved", again.complaints.length === 0, again.complaints.join("; "));
  await again.close();
  const lone = join(work, "lone");
  mkdirSync(lone);
  copyFileSync(join(moved, "report.html"), join(lone, "report.html"));
  const one = await browser.open(address(lone, "report.html"));
  await one.size(1440, 900);
  await allLoaded(one);
  check("one file stands alone", one.complaints.length === 0 && one.requests.filter((url) => url.startsWith("file:")).length === 1, one.requests.join(" "));
  await one.close();
  return moved;
}

async function withoutScript(browser, folder) {
  const page = await browser.open("about:blank");
  await page.send("Emulation.setScriptExecutionDisabled", { value: true });
  await page.size(1440, 900);
  await page.go(address(folder));
  await page.photograph(join(out, "without-script.png"));
  const { root } = await page.send("DOM.getDocument", {});
  const box = async (selector) => {
    const { nodeId } = await page.send("DOM.querySelector", { nodeId: root.nodeId, selector });
    return page.send("DOM.getBoxModel", { nodeId }).then(() => true, () => false);
  };
  check("without a script: curves and table are seen, controls are not",
    (await box("figure.drawn svg")) && (await box("#runs-table")) && !(await box("#cards")) && !(await box("#theme")));
  await page.close();
}

async function largePage(browser) {
  const folder = join(work, "large");
  const names = ["base", ...Array.from({ length: 9 }, (_, n) => `step-${String(60 * (n + 1)).padStart(6, "0")}`), "tuned"];
  const sets = setImages(join(work, "large-sets"), names, 64);
  const prompts = Array.from({ length: 8 }, (_, n) => `a dog doing the thing number ${n}`);
  for (let n = 0; n < 200; n++) {
    writeRun(folder, { name: `sweep-lr${n % 8}-rank${n % 5}-seed${n}`, prompts, sets, steps: 600, seed: n, lr: 1e-4 * (1 + n % 8), value: (n % 17) / 17, about: "Which rate, which rank?" });
  }
  const begun = performance.now();
  run("report", "--results", folder);
  const seconds = (performance.now() - begun) / 1000;
  // A machine may be busy; the figures that count are measured on an idle one.
  console.log(`       200 runs, 8 prompts, 10 steps: report takes ${seconds.toFixed(1)} s (aim 10)`);
  const megabytes = statSync(join(folder, "index.html")).size / 1e6;
  check(`its page has ${megabytes.toFixed(2)} MB (limit 5)`, megabytes < 5);
  const page = await browser.open("about:blank");
  await page.size(1440, 900);
  await page.go(address(folder));
  const opened = page.milliseconds / 1000;
  console.log(`       it opens in ${opened.toFixed(2)} s (aim 2)`);
  check("with a card for each run", (await count(page, "#cards .card")) === 200, String(await count(page, "#cards .card")));
  await page.until(`document.querySelector("#cards img").naturalWidth > 0`);
  await page.photograph(join(out, "large.png"), false);
  check("no complaint of the large page", page.complaints.length === 0, page.complaints.join("; "));
  await page.close();
}

async function served(browser) {
  const folder = join(work, "served");
  mkdirSync(folder);
  const server = spawn(tunelab, ["serve", "--results", folder, "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  const url = await new Promise((found, lost) => {
    let said = "";
    server.stderr.on("data", (data) => { said += data; const match = said.match(/http:\S+/); if (match) found(match[0]); });
    server.once("exit", () => lost(new Error(`the server ended: ${said}`)));
  });
  const page = await browser.open(url);
  await page.size(1440, 900);
  check("a tree without runs is shown", (await text(page, ".summary")) === "No finished run yet.");
  const training = spawn(tunelab, ["run", join(root, "experiments/lora_dog.toml"), "--stand-in", "--results", folder, "--set", "train.steps=120",
    "--set", "eval.images=1", "--set", "eval.images_every=40", "--set", "eval.steps=5", "--set", "eval.every=20"], { stdio: "ignore" });
  const ended = new Promise((done) => training.once("exit", done));
  await page.until(`document.querySelector(".running progress")?.value > 0`, "a run under way is seen", 60);
  await page.until(`document.querySelector(".running")?.textContent.includes(" left")`, "the time that is left is told", 60);
  check("a run under way is seen, with the time that is left", true);
  await page.until(`document.querySelectorAll("#cards img").length > 0`, "its first images are seen", 60);
  const points = `JSON.parse(sessionStorage.getItem("tunelab:/") ?? "{}") && document.querySelectorAll(".chart canvas").length`;
  await page.until(`${points} > 0`, "its curve is seen", 60);
  check("its curve and images are seen while it runs", true);
  await page.photograph(join(out, "under-way.png"));
  await page.until(`document.querySelectorAll("#runs-table tbody tr").length === 1`, "the finished run is in the table", 240);
  check("it ends in the table without anybody's doing", (await ended) === 0 && (await count(page, ".running")) === 0);
  await page.until(`document.querySelectorAll("#cards img").length > 0`);
  const refused = page.complaints.filter((complaint) => !complaint.includes("favicon"));
  check("no complaint of the followed page", refused.length === 0, refused.join("; "));
  check("no request but to the server", page.requests.every((asked) => asked.startsWith(url) || asked.startsWith("data:")));
  server.kill("SIGINT");
  const code = await new Promise((done) => server.once("exit", done));
  check("Ctrl-C stops the server", code === 0, String(code));
  await page.until(`document.body.classList.contains("lost")`, "the page says that the server is gone", 15);
  check("the page says that the server is gone", true);
  await page.close();
}

async function pictures(browser, folder) {
  const page = await browser.open("about:blank");
  for (const [width, height] of [[1440, 900], [900, 900], [390, 844]]) {
    for (const theme of ["light", "dark"]) {
      await page.size(width, height, theme);
      await page.go(address(folder));
      await sleep(400);
      check(`${width} pixels, ${theme}: nothing sticks out`, await page.ask(`document.documentElement.scrollWidth <= innerWidth`),
        await page.ask(`[...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, pre")).slice(0, 3).map((e) => e.outerHTML.slice(0, 90)).join(" ")`));
      await page.photograph(join(out, `page-${width}-${theme}.png`));
    }
  }
  await page.print(join(out, "page.pdf"));
  await page.close();
}

mkdirSync(out, { recursive: true });
const browser = await Chromium.start();
try {
  const small = await smallPage(browser);
  await withoutScript(browser, small);
  await largePage(browser);
  await served(browser);
  await pictures(browser, given("tree", small));
} catch (error) {
  check("to the end", false, error.stack);
} finally {
  await browser.stop();
}
console.log(failed ? `${failed} failed` : `all hold; pictures are in ${out}`);
if (!failed && !process.argv.includes("--out")) rmSync(work, { recursive: true });
process.exit(failed ? 1 : 0);
