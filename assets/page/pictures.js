// Images: base beside tuned, across runs, prompts, seeds or steps; one of them in full screen.

const unique = (values) => [...new Set(values)];
const prompts = () => unique(shown().flatMap((run) => run.prompts.map((prompt) => prompt.text)));
// The first prompt of those that most runs draw.
function mostShared() {
  const count = (prompt) => shown().filter((run) => run.prompts.some((other) => other.text === prompt)).length;
  return prompts().reduce((best, prompt) => (count(prompt) > count(best) ? prompt : best));
}
const isBase = (set) => set.folder === "base";
const steps = () => unique(shown().flatMap((run) => run.sets.filter((set) => !isBase(set)).map((set) => set.step)))
  .sort((a, b) => a - b);
const imageCount = () => Math.max(1, ...shown().flatMap((run) => run.sets.flatMap((set) => set.images)));

const link = (run, set, prompt, image) => {
  const path = `${run.folder}/samples/${set.folder}/${prompt.folder}/${image}.png`;
  return data.files?.[path] ?? path;
};

// The image of a run nearest below a step, and the base model's of the same prompt and seed; null where there is none.
function shot({ run, prompt, image, step }) {
  const at = run.prompts.findIndex((other) => other.text === prompt);
  if (at < 0) return null;
  const has = (set) => set.images[at] > image;
  const tuned = run.sets.filter((set) => !isBase(set) && has(set));
  const set = tuned.filter((set) => set.step <= step).at(-1) ?? tuned[0] ?? null;
  const base = run.sets.find((set) => isBase(set) && has(set)) ?? null;
  if (!set && !base) return null;
  const seed = (BigInt(run.seed) + BigInt(image)).toString();
  return { run, prompt, image, seed, set, base, folder: run.prompts[at] };
}

const words = ({ run, prompt, seed, set, base }) =>
  `“${prompt}”, seed ${seed}, ${label(run)}, ${base && set ? "base | " : ""}${(set ?? base).label}`;

// Both images over each other, parted by a line; the pointer moves the line of all.
function compare(found) {
  const box = make("div", { className: "compare" });
  const picture = (set, what) => make("img", {
    src: link(found.run, set, found.folder, found.image), loading: "lazy", draggable: false, className: what,
    alt: `“${found.prompt}”, seed ${found.seed}, ${label(found.run)}, ${set.label}`,
    onerror() { box.classList.add("missing"); },
  });
  if (found.base) box.append(picture(found.base, found.set ? "base" : "only"));
  if (found.set) box.append(picture(found.set, found.base ? "tuned" : "only"));
  if (found.base && found.set) {
    box.append(make("span", { className: "line" }), make("span", { className: "tag left" }, "base"),
      make("span", { className: "tag right" }, found.set.label));
    const move = (event) => {
      const { left, width } = box.getBoundingClientRect();
      setSplit(Math.round(100 * Math.min(Math.max((event.clientX - left) / width, 0), 1)));
    };
    box.addEventListener("pointermove", (event) => { if (event.buttons || event.pointerType === "mouse") move(event); });
  }
  return box;
}

function setSplit(percent) {
  state.split = percent;
  document.documentElement.style.setProperty("--split", percent + "%");
  if ($("split").valueAsNumber !== percent) $("split").value = percent;
}

function choices() {
  const { run, prompt, image, step } = state;
  const chosen = { run: runOf(run), prompt, image, step };
  const values = {
    run: () => shown().map((run) => ({ ...chosen, run })),
    prompt: () => chosen.run.prompts.map((prompt) => ({ ...chosen, prompt: prompt.text })),
    image: () => Array.from({ length: imageCount() }, (_, image) => ({ ...chosen, image })),
    step: () => chosen.run.sets.filter((set) => !isBase(set)).map((set) => ({ ...chosen, step: set.step })),
  };
  return values[state.across]();
}

function card(found) {
  const open = () => openFull(found);
  const box = compare(found);
  box.addEventListener("click", open);
  const enlarge = make("button", { type: "button", onclick: open, title: "full screen", "aria-label": "full screen: " + words(found) }, "⤢");
  const name = make("strong", {}, make("span", { className: "dot" }), label(found.run));
  name.firstChild.style.background = color(place(found.run));
  return make("figure", { className: "card" }, box,
    make("figcaption", {}, name, enlarge, make("span", {}, `“${found.prompt}”`),
      make("small", {}, `seed ${found.seed}, ${(found.set ?? found.base).label}`)));
}

function fill(select, values, names, chosen) {
  select.replaceChildren(...values.map((value, at) => make("option", { value: String(at), selected: value === chosen }, names[at])));
}

function drawPictures() {
  if (!data.runs.length || !prompts().length) {
    $("picture-controls").hidden = true;
    $("cards").replaceChildren(make("p", { className: "note" }, "No run that is shown has images."));
    return;
  }
  $("picture-controls").hidden = false;
  if (!runOf(state.run)) state.run = data.runs[0].folder;
  if (!prompts().includes(state.prompt)) state.prompt = mostShared();
  state.image = Math.min(state.image, imageCount() - 1);
  $("across").value = state.across;
  fill($("run"), data.runs, data.runs.map(label), runOf(state.run));
  fill($("prompt"), prompts(), prompts(), state.prompt);
  const images = Array.from({ length: imageCount() }, (_, image) => image);
  fill($("image"), images, images.map((image) => `${image + 1} of ${images.length}`), state.image);
  const known = steps();
  const at = Number.isFinite(state.step) ? known.filter((step) => step <= state.step).length - 1 : known.length - 1;
  Object.assign($("step"), { max: Math.max(known.length - 1, 0), value: Math.max(at, 0), disabled: known.length < 2 });
  $("step-label").value = known.length ? `${known[Math.max(at, 0)]} of ${known.at(-1)}` : "–";
  const hide = (id, hidden) => { $(id).closest("label").hidden = hidden; };
  hide("run", state.across === "run");
  hide("prompt", state.across === "prompt");
  hide("image", state.across === "image" || images.length < 2);
  hide("step", state.across === "step" || known.length < 2);
  const found = choices().map(shot).filter(Boolean);
  $("cards").replaceChildren(...found.map(card));
  if (!found.length) $("cards").append(make("p", { className: "note" }, "There is no such picture."));
}

// Full screen: what is shown, and how the keys lead on.
let full = null;
function openFull(found) {
  full = found;
  drawFull();
  if (!$("full-screen").open) $("full-screen").showModal();
}

function drawFull() {
  $("full-screen").querySelector(".stage").replaceChildren(compare(full));
  $("full-caption").value = words(full);
}

// The next value of what a key changes that leads to an image; the ends lead round.
function lead(key) {
  // It may have been read anew meanwhile.
  full.run = runOf(full.run.folder) ?? full.run;
  const around = (values, now, by) => values.map((_, n) => values[(now + by * (n + 1) + values.length * (n + 2)) % values.length]);
  const of = full.run;
  const step = full.set?.step ?? 0;
  const own = of.sets.filter((set) => !isBase(set)).map((set) => set.step);
  const names = of.prompts.map((prompt) => prompt.text);
  const images = Array.from({ length: imageCount() }, (_, image) => image);
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 1, ArrowDown: -1, "[": -1, "]": 1, ",": -1, ".": 1 }[key];
  const next = {
    ArrowLeft: () => around(names, names.indexOf(full.prompt), by).map((prompt) => ({ ...full, prompt })),
    ArrowUp: () => around(own, own.indexOf(step), by).map((step) => ({ ...full, step })),
    "[": () => around(shown(), Math.max(shown().findIndex((run) => run.folder === of.folder), 0), by).map((run) => ({ ...full, run })),
    ",": () => around(images, full.image, by).map((image) => ({ ...full, image })),
  }[{ ArrowRight: "ArrowLeft", ArrowDown: "ArrowUp", "]": "[", ".": "," }[key] ?? key];
  if (!by || !next) return false;
  const found = next().map((wanted) => shot({ step, ...wanted })).find(Boolean);
  if (found) openFull(found);
  return true;
}

function listenToPictures() {
  const draw = (change) => (event) => { change(event.target); drawPictures(); keep(); };
  $("across").onchange = draw((select) => { state.across = select.value; });
  $("run").onchange = draw((select) => { state.run = data.runs[Number(select.value)].folder; });
  $("prompt").onchange = draw((select) => { state.prompt = prompts()[Number(select.value)]; });
  $("image").onchange = draw((select) => { state.image = Number(select.value); });
  $("step").oninput = draw((range) => {
    const at = range.valueAsNumber;
    state.step = at === steps().length - 1 ? Infinity : steps()[at];
  });
  $("split").oninput = (event) => { setSplit(event.target.valueAsNumber); keep(); };
  $("full-close").onclick = () => $("full-screen").close();
  $("full-screen").addEventListener("keydown", (event) => { if (lead(event.key)) event.preventDefault(); });
  $("full-screen").addEventListener("click", (event) => { if (event.target === $("full-screen")) $("full-screen").close(); });
}
