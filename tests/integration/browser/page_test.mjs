// The web page in a real browser. Usage: node page_test.mjs SETTINGS, JSON with
//   url, metrics   of the gateway
//   browser        its program
//   picture, tiff  files
//   boxes          {label, boxes, request}: request makes the model answer with them
//   screenshots    folder, or null
import assert from "node:assert/strict";
import {readFileSync, rmSync, truncateSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import test, {after, afterEach, before, beforeEach} from "node:test";
import {chromium} from "playwright-core";

const settings = JSON.parse(process.argv[2]);
const pictureBytes = readFileSync(settings.picture);
let browser, page, requests, complaints;

before(async () => {
  browser = await chromium.launch({
    executablePath: settings.browser, headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});
after(() => browser?.close());

beforeEach(async () => {
  page = await browser.newPage({viewport: {width: 1280, height: 800}});
  page.setDefaultTimeout(30_000);
  requests = [];
  complaints = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await page.goto(settings.url);
});
afterEach(async () => {
  for (const url of requests) {
    assert.ok(url.startsWith(settings.url) || url.startsWith("data:") || url.startsWith("blob:"),
        "asks elsewhere: " + url);
  }
  // Chromium complains of every refusal that a page asks for; anything else is the page's fault.
  const ours = complaints.filter((text) => !text.startsWith("Failed to load resource"));
  assert.deepEqual(ours, []);
  await page.close();
});

const byRole = (role, name) => page.getByRole(role, {name, exact: true});
const answer = () => page.locator("#answer").textContent();
const status = () => page.locator("#status").textContent();
const choose = (file) => page.getByLabel("Choose a picture").setInputFiles(file);

// What the page sends, with more in it. Now and then a request that follows at once passed by, so one
// of the page's own is seen to be caught first.
async function adding(more) {
  await page.route("**/v1/chat/completions", (route) => {
    if (!route.request().postData()) return route.fulfill({status: 200, body: "caught"});
    return route.continue({postData: JSON.stringify({...route.request().postDataJSON(), ...more})});
  });
  const caught = () => page.evaluate(async () => {
    const response = await fetch("v1/chat/completions", {method: "POST"});
    return response.text();
  });
  for (let i = 0; await caught() !== "caught"; ++i) assert.ok(i < 100, "requests pass by");
}

async function setMore({limit, temperature}) {
  await page.getByText("More", {exact: true}).click();
  await page.getByLabel("Longest answer").fill(String(limit));
  if (temperature !== undefined) {
    await page.getByLabel("Temperature").fill(String(temperature));
  }
}

const finished = () => page.waitForFunction(
    () => document.getElementById("answer").getAttribute("aria-busy") === "false");

// Waits for it; what else is there is told when it does not come.
async function statusSays(text) {
  try {
    await page.waitForFunction(
        (wanted) => document.getElementById("status").textContent.includes(wanted), text);
  } catch (error) {
    const there = await page.evaluate(() => document.querySelector("main").innerText);
    throw new Error(`the status does not say "${text}": ${there}`, {cause: error});
  }
}

async function screenshot(name) {
  if (!settings.screenshots) return;
  await page.screenshot({path: join(settings.screenshots, name + ".png"), fullPage: true});
}

async function apiAnswer(question, more) {
  const url = "data:image/png;base64," + pictureBytes.toString("base64");
  const response = await fetch(settings.url + "v1/chat/completions", {
    method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({messages: [{role: "user", content: [
      {type: "image_url", image_url: {url}}, {type: "text", text: question}]}], ...more}),
  });
  assert.equal(response.status, 200);
  return (await response.json()).choices[0].message.content;
}

async function upstreamCalls() {
  const text = await (await fetch(settings.metrics)).text();
  return text.split("\n").filter((line) => line.startsWith("vl2_gateway_upstream_calls"))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

// Alone, the small model would be done before anybody could look; others make it slow.
function startLoad() {
  const others = new AbortController();
  const load = Array.from({length: 4}, () => fetch(settings.url + "v1/chat/completions", {
    method: "POST", headers: {"Content-Type": "application/json"}, signal: others.signal,
    body: JSON.stringify({messages: [{role: "user", content: "Hello"}], n: 16, ignore_eos: true,
                          max_tokens: 4000, temperature: 1}),
  }).catch((error) => error.name));
  return async () => {
    others.abort();
    assert.deepEqual(await Promise.all(load), Array(4).fill("AbortError"), "it was slow");
  };
}

test("a picture, a question, the API's answer as it streams", async () => {
  await adding({ignore_eos: true});
  await screenshot("wide-empty");
  await choose(settings.picture);
  await page.locator("#picture").waitFor({state: "visible"});
  await page.getByLabel("Question").fill("What is in this picture?");
  await setMore({limit: 120, temperature: 0});
  const endLoad = startLoad();
  await page.evaluate(() => {
    window.lengths = new Set();
    new MutationObserver(() => window.lengths.add(document.getElementById("answer")
        .textContent.length)).observe(document.getElementById("answer"), {childList: true});
  });
  await byRole("button", "Ask").click();
  await statusSays("tokens/s");
  await finished();
  await endLoad();
  const expected = await apiAnswer("What is in this picture?",
      {max_tokens: 120, temperature: 0, ignore_eos: true});
  assert.equal(await answer(), expected);
  assert.ok(await page.evaluate(() => window.lengths.size) > 10, "the text came in pieces");
  assert.match(await status(), /^Cut off .* 120 tokens in .*prompt \d+ tokens/);
  assert.ok(await page.locator("#error").isHidden());
  await screenshot("wide-answer");
});

test("boxes are drawn on the picture", async () => {
  await adding(settings.boxes.request);
  await choose(settings.picture);
  await page.locator("#picture").waitFor({state: "visible"});
  await byRole("button", "Ask").click();
  await page.locator(".box").nth(settings.boxes.boxes.length - 1).waitFor();
  await finished();
  const picture = await page.locator("#picture").boundingBox();
  for (const [index, [x1, y1, x2, y2]] of settings.boxes.boxes.entries()) {
    const box = await page.locator(".box").nth(index).boundingBox();
    const expected = {x: picture.x + x1 / 999 * picture.width,
                      y: picture.y + y1 / 999 * picture.height,
                      width: (x2 - x1) / 999 * picture.width,
                      height: (y2 - y1) / 999 * picture.height};
    for (const key of Object.keys(expected)) {
      assert.ok(Math.abs(box[key] - expected[key]) < 1, `${key}: ${box[key]}, ${expected[key]}`);
    }
    assert.equal(await page.locator(".box").nth(index).textContent(), settings.boxes.label);
  }
  const found = page.getByRole("list", {name: "Found in the picture"}).getByRole("listitem");
  assert.equal(await found.count(), settings.boxes.boxes.length);
  await screenshot("wide-boxes");
  await page.emulateMedia({colorScheme: "dark"});
  await screenshot("wide-boxes-dark");
  // The next picture starts clean.
  await byRole("button", "Remove").click();
  assert.equal(await page.locator(".box").count(), 0);
  assert.equal(await answer(), "");
});

test("stop ends the answer and keeps what is there", async () => {
  await adding({ignore_eos: true});
  const endLoad = startLoad();
  for (const stop of [() => byRole("button", "Stop").click(), () => page.keyboard.press("Escape")]) {
    await page.reload();
    await page.getByLabel("Question").fill("Go on and on.");
    await setMore({limit: 4000});
    assert.ok(await byRole("button", "Stop").isDisabled());
    await byRole("button", "Ask").click();
    await page.waitForFunction(() => document.getElementById("answer").textContent.length > 20);
    assert.ok(await byRole("button", "Ask").isDisabled());
    await stop();
    await finished();
    assert.equal(await status(), "Stopped.");
    assert.ok((await answer()).length > 20);
    assert.ok(await byRole("button", "Ask").isEnabled());
  }
  assert.ok(await upstreamCalls() > 0);
  await endLoad();
  const deadline = Date.now() + 5000;
  while (await upstreamCalls() > 0) assert.ok(Date.now() < deadline, "a call goes on");
});

test("errors are shown and do not stay", async () => {
  const error = page.getByRole("alert");
  const broken = {name: "broken.png", mimeType: "image/png", buffer: Buffer.from("not a picture")};
  await choose(broken);
  await page.getByText("broken.png: no preview").waitFor();
  await byRole("button", "Ask").click();
  await error.waitFor();
  assert.match(await error.textContent(), /format not recognised/);
  assert.equal(await status(), "");
  await screenshot("wide-error");
  await byRole("button", "Remove").click();
  assert.ok(await error.isHidden());

  const large = join(tmpdir(), `vl2-large-${process.pid}.png`);
  writeFileSync(large, "");
  truncateSync(large, 21 * 2 ** 20);
  await choose(large);
  assert.match(await error.textContent(), /21\.0 MiB; 20 are accepted/);
  rmSync(large);

  await setMore({limit: 5, temperature: 11});
  await page.getByText("More", {exact: true}).click();
  assert.ok(await page.getByLabel("Temperature").isHidden());
  const sent = requests.length;
  await byRole("button", "Ask").click();
  await page.getByLabel("Temperature").waitFor();  // shown, since the form itself refuses it
  assert.equal(requests.length, sent);
  await page.getByLabel("Temperature").fill("0");
  await page.route("**/v1/chat/completions", (route) => route.abort());
  await byRole("button", "Ask").click();
  await page.getByText("The server cannot be reached.").waitFor();
  await page.unroute("**/v1/chat/completions");
  await byRole("button", "Ask").click();
  await statusSays("5 tokens in");
  assert.ok(await error.isHidden());
});

test("pictures come by paste and by drop", async () => {
  const give = (kind) => page.evaluate(([kind, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], kind + ".png", {type: "image/png"}));
    const options = {bubbles: true, cancelable: true};
    return document.body.dispatchEvent(kind === "paste" ?
        new ClipboardEvent(kind, {...options, clipboardData: transfer}) :
        new DragEvent(kind, {...options, dataTransfer: transfer}));
  }, [kind, [...pictureBytes]]);
  for (const kind of ["paste", "drop"]) {
    assert.equal(await give(kind), false, "the browser's own handling is off");
    await page.getByText(kind + ".png", {exact: true}).waitFor();
    await page.locator("#picture").waitFor({state: "visible"});
    await byRole("button", "Remove").click();
    assert.ok(await page.locator("#stage").isHidden());
  }
  await choose(settings.tiff);
  await page.getByText("no preview; it is sent all the same").waitFor();
  await setMore({limit: 3});
  await adding({ignore_eos: true});
  await byRole("button", "Ask").click();
  await statusSays("3 tokens in");
});

test("the keyboard alone, and names for what it meets", async () => {
  const focused = () => page.evaluate(() => document.activeElement.id ||
      document.activeElement.tagName.toLowerCase());
  await adding({ignore_eos: true, max_tokens: 5});
  const order = [];
  for (let i = 0; i < 4; ++i) {
    await page.keyboard.press("Tab");
    order.push(await focused());
  }
  assert.deepEqual(order, ["file", "question", "summary", "send"]);
  await screenshot("wide-focus");
  await page.getByLabel("Question").focus();
  await page.keyboard.press("Control+Enter");
  await statusSays("5 tokens in");
  assert.equal(await focused(), "question");
  // The keyboard's place is kept while buttons are disabled and enabled.
  await byRole("button", "Ask").focus();
  await page.keyboard.press("Enter");
  await finished();
  assert.equal(await focused(), "send");

  await page.getByText("More", {exact: true}).click();
  const nameless = await page.evaluate(() =>
      [...document.querySelectorAll("input, textarea, button")].filter((each) =>
          (each.labels?.length ?? 0) === 0 && each.textContent.trim() === "" &&
          !each.hasAttribute("aria-label")).map((each) => each.id));
  assert.deepEqual(nameless, []);
  assert.equal(await page.locator("html").getAttribute("lang"), "en");
  assert.equal(await page.getByRole("heading", {level: 1}).count(), 1);
});

// Relative luminance and contrast as WCAG 2 define them.
function contrast(first, second) {
  const luminance = (colour) => colour.match(/\d+/g).slice(0, 3).map(Number)
      .map((value) => value / 255)
      .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
      .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const [low, high] = [luminance(first), luminance(second)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

test("narrow and wide, light and dark", async () => {
  await choose(settings.picture);
  await page.locator("#picture").waitFor({state: "visible"});
  await adding({...settings.boxes.request});
  await byRole("button", "Ask").click();
  await page.locator(".box").first().waitFor();
  await finished();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({colorScheme});
    for (const width of [390, 1280]) {
      await page.setViewportSize({width, height: 844});
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= width,
          "nothing sticks out at " + width);
      const picture = await page.locator("#picture").boundingBox();
      const box = await page.locator(".box").first().boundingBox();
      assert.ok(box.x >= picture.x && box.x + box.width <= picture.x + picture.width + 1);
      await screenshot(`${width === 390 ? "narrow" : "wide"}-${colorScheme}`);
    }
    const pairs = await page.evaluate(() => ["#answer", "#status", "#formats", "#question", "#send"]
        .map((selector) => {
          const element = document.querySelector(selector);
          let behind = element;
          while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") {
            behind = behind.parentElement;
          }
          return [selector, getComputedStyle(element).color,
                  getComputedStyle(behind).backgroundColor];
        }));
    for (const [selector, ink, paper] of pairs) {
      assert.ok(contrast(ink, paper) >= 4.5, `${colorScheme} ${selector}: ${ink} on ${paper}`);
    }
  }
});
