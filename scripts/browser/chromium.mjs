// Chromium over the DevTools protocol, through a pipe: no package, no port.
//
// In: an address. Out: a page that can be asked, clicked, typed at, photographed; and all that it complained of or
// requested.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Chromium {
  static async start(program = process.env.CHROMIUM ?? "chromium") {
    const profile = mkdtempSync(join(tmpdir(), "tunelab-chromium-"));
    const options = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
      "--no-first-run", "--disable-extensions", "--disable-background-networking", `--user-data-dir=${profile}`, "about:blank"];
    const child = spawn(program, options, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    const browser = new Chromium(child, profile);
    await new Promise((resolve, reject) => {
      child.once("error", reject);
      browser.send("Browser.getVersion").then(resolve, reject);
    });
    return browser;
  }

  constructor(child, profile) {
    Object.assign(this, { child, profile, count: 0, waiting: new Map(), listeners: [] });
    let rest = "";
    child.stdio[4].setEncoding("utf8");
    child.stdio[4].on("data", (text) => {
      const parts = (rest + text).split("\0");
      rest = parts.pop();
      parts.forEach((part) => this.hear(JSON.parse(part)));
    });
  }

  hear(message) {
    const asked = this.waiting.get(message.id);
    if (!asked) { this.listeners.forEach((listener) => listener(message)); return; }
    this.waiting.delete(message.id);
    if (message.error) asked.reject(new Error(`${asked.method}: ${message.error.message}`));
    else asked.resolve(message.result);
  }

  send(method, params = {}, sessionId) {
    const id = ++this.count;
    this.child.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject, method }));
  }

  async open(address) {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId);
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.send(`${domain}.enable`);
    page.targetId = targetId;
    await page.go(address);
    return page;
  }

  async stop() {
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.send("Browser.close").catch(() => {});
    await gone;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Page {
  constructor(browser, session) {
    Object.assign(this, { browser, session, complaints: [], requests: [], loaded: null });
    browser.listeners.push((message) => {
      if (message.sessionId !== session) return;
      const { method, params } = message;
      if (method === "Runtime.exceptionThrown") {
        this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
      }
      if (method === "Runtime.consoleAPICalled" && params.type === "error") {
        this.complaints.push(params.args.map((a) => a.value ?? a.description).join(" "));
      }
      if (method === "Log.entryAdded" && params.entry.level === "error") this.complaints.push(`${params.entry.text} ${params.entry.url ?? ""}`);
      if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
      if (method === "Page.loadEventFired") this.loaded?.();
      // An alert would stop the page; that there was one is a complaint.
      if (method === "Page.javascriptDialogOpening") {
        this.complaints.push(`a dialog: ${params.message}`);
        this.send("Page.handleJavaScriptDialog", { accept: true });
      }
    });
  }

  send(method, params) { return this.browser.send(method, params, this.session); }

  async go(address) {
    const loaded = new Promise((resolve) => { this.loaded = resolve; });
    const begun = performance.now();
    await this.send("Page.navigate", { url: address });
    await loaded;
    this.milliseconds = performance.now() - begun;
  }

  async ask(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  async until(expression, what = expression, seconds = 10) {
    const end = performance.now() + 1000 * seconds;
    while (!(await this.ask(expression))) {
      if (performance.now() > end) throw new Error(`this did not happen within ${seconds} s: ${what}`);
      await sleep(50);
    }
  }

  size(width, height, theme = "light") {
    const features = [{ name: "prefers-color-scheme", value: theme }];
    return Promise.all([
      this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 }),
      this.send("Emulation.setEmulatedMedia", { features }),
    ]);
  }

  // The middle of an element, which is scrolled into view.
  async place(selector) {
    const found = await this.ask(`(() => { const e = document.querySelector(${JSON.stringify(selector)});
      if (!e) return null; e.scrollIntoView({ block: "center" }); const r = e.getBoundingClientRect();
      return { x: r.left + r.width / 2, y: r.top + r.height / 2, left: r.left, top: r.top, width: r.width, height: r.height }; })()`);
    if (!found || !found.width) throw new Error(`${selector} is not to be seen`);
    return found;
  }

  mouse(type, x, y, more = {}) {
    return this.send("Input.dispatchMouseEvent", { type, x, y, button: "left", buttons: type === "mouseReleased" ? 0 : 1, clickCount: 1, ...more });
  }

  async click(selector) {
    const { x, y } = await this.place(selector);
    await this.mouse("mouseMoved", x, y, { buttons: 0 });
    await this.mouse("mousePressed", x, y);
    await this.mouse("mouseReleased", x, y);
  }

  async hover(selector, across = 0.5, down = 0.5) {
    const { left, top, width, height } = await this.place(selector);
    await this.mouse("mouseMoved", left + across * width, top + down * height, { button: "none", buttons: 0 });
  }

  async drag(selector, from, to) {
    const { left, width, y } = await this.place(selector);
    const x = (share) => left + share * width;
    await this.mouse("mouseMoved", x(from), y, { button: "none", buttons: 0 });
    await this.mouse("mousePressed", x(from), y);
    for (let n = 1; n <= 5; n++) await this.mouse("mouseMoved", x(from + (to - from) * n / 5), y);
    await this.mouse("mouseReleased", x(to), y);
  }

  async key(key) {
    const text = key === "Enter" ? "\r" : key.length === 1 ? key : undefined;
    const code = { ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40, Escape: 27, Enter: 13, Tab: 9 }[key];
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", key, text, windowsVirtualKeyCode: code });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", key, windowsVirtualKeyCode: code });
  }

  async photograph(file, whole = true) {
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: whole });
    writeFileSync(file, Buffer.from(data, "base64"));
  }

  async print(file) {
    const { data } = await this.send("Page.printToPDF", { printBackground: true, paperWidth: 8.27, paperHeight: 11.69 });
    writeFileSync(file, Buffer.from(data, "base64"));
  }

  close() { return this.browser.send("Target.closeTarget", { targetId: this.targetId }); }
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
