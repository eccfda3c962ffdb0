// Results trees that no training made, for looking at pages: images of plain colors, losses of a formula.
//
// In: how many runs, prompts and steps. Out: the folders that `tunelab run` would leave, as far as pages read them.

import { linkSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as zlib from "node:zlib";

const { crc32, deflateSync } = zlib;

// A PNG of one color with a lighter bar, so that sets can be told apart.
function png(side, [r, g, b], bar) {
  const rows = [];
  for (let y = 0; y < side; y++) {
    const row = Buffer.alloc(1 + 3 * side);
    for (let x = 0; x < side; x++) row.set(Math.abs(x - bar) < 4 ? [255, 255, 255] : [r, g, (b + 2 * y) % 256], 1 + 3 * x);
    rows.push(row);
  }
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc(body));
    return Buffer.concat([length, body, sum]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head), chunk("IDAT", deflateSync(Buffer.concat(rows))),
    chunk("IEND", Buffer.alloc(0))]);
}

// zlib.crc32 is new in Node 20.15.
function crc(bytes) {
  if (crc32) return crc32(bytes);
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let n = 0; n < 8; n++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

// `tunelab` makes a prompt's folder of its text; of plain words that is the words with hyphens.
const plain = (prompt) => prompt.replaceAll(" ", "-");

export function writeRun(results, { name, folder = name, about, prompts, sets, images = 1, steps = 300, seed = 42, lr = 1e-4, value = 0.5, folders }) {
  const run = join(results, folder);
  mkdirSync(run, { recursive: true });
  const text = (value) => JSON.stringify(value);
  writeFileSync(join(run, "plan.toml"), `${about ? `# ${about}\n\n` : ""}name = ${text(name)}\nseed = ${seed}\n\n[train]\nsteps = ${steps}\nlearning_rate = ${lr}\n\n` +
    `[eval]\nprompts = [${prompts.map(text).join(", ")}]\nimages = ${images}\nseed = ${seed}\n`);
  const loss = Array.from({ length: steps }, (_, n) => `${n + 1},${1 + Math.floor(n / 50)},${(0.1 + 0.1 * Math.exp(-n / 100) + 0.05 * Math.abs(Math.sin(n * value * 7))).toFixed(7)},${lr},${(0.5 + 0.4 * Math.cos(n)).toFixed(5)}`);
  writeFileSync(join(run, "loss.csv"), `step,epoch,loss,lr,grad_norm\n${loss.join("\n")}\n`);
  const evaluated = Array.from({ length: 7 }, (_, n) => `${Math.round(n * steps / 6)},${(0.1 + 0.05 * value * Math.exp(-n)).toFixed(6)}`);
  writeFileSync(join(run, "eval.csv"), `step,eval_loss\n${evaluated.join("\n")}\n`);
  for (const [set, source] of Object.entries(sets)) {
    prompts.forEach((prompt, at) => {
      const place = join(run, "samples", set, folders?.[at] ?? plain(prompt));
      mkdirSync(place, { recursive: true });
      for (let image = 0; image < images; image++) linkSync(source, join(place, `${image}.png`));
    });
  }
  const mean = (metric, number) => ({ encoder: "builtin", metric, prompt: null, value: number, interval: null });
  const step = (set) => (set === "base" ? 0 : set === "tuned" ? steps : Number(set.slice(5)));
  const measured = Object.keys(sets).map((set) => ({ set, step: step(set), nearest: {},
    metrics: [mean("subject", 0.5 + 0.3 * value * step(set) / steps), mean("prompt", 1 - 0.2 * value * step(set) / steps)] }));
  const record = {
    status: "finished", name, stand_in: null, method: "lora", device: "cpu", dtype: "f32",
    counts: { trained_parameters: 797184, total_parameters: 1066235307, images: 5, steps, epochs: 6 },
    loss: { final: 0.1, eval_first: 0.15, eval_last: 0.1 + 0.01 * value },
    metrics: { encoders: { builtin: { source: "builtin", sha256: "0".repeat(64) } }, identifier: null, class_prompt: null, references: 5,
      bootstrap: 0, sets: measured, best: null },
    seconds: { total: 100 + 10 * value, training: 80 + 10 * value, sampling: 15, measuring: 1, per_step: 0.25 + 0.01 * value },
    peak_memory: { host_mib: 900 + value, device_mib: null },
    versions: { tunelab: "0.1.0", commit: null, rustc: null, crates: {} },
    machine: { os: "Linux", kernel: null, arch: "x86_64", cpu: null, cpu_features: [], simd: null, cores: 2, memory_mib: 1024, gpus: [] },
    hashes: { model: {}, data: {}, class: {}, config: {} }, warnings: [], files: [],
  };
  writeFileSync(join(run, "run.json"), JSON.stringify(record, null, 2));
  // A run has its figures when it ends; here they are one of the images.
  const figure = Object.values(sets)[0];
  for (const name of ["grid.png", "steps.png", "loss.png", "metrics.png"]) linkSync(figure, join(run, name));
}

// An image for each set: the color says the set, the bar the step.
export function setImages(folder, names, side = 96) {
  mkdirSync(folder, { recursive: true });
  return Object.fromEntries(names.map((name, at) => {
    const file = join(folder, `${name}.png`);
    writeFileSync(file, png(side, name === "base" ? [90, 90, 90] : [(40 + 25 * at) % 256, (160 + 70 * at) % 256, (60 + 110 * at) % 256], 6 + at * 8));
    return [name, file];
  }));
}
