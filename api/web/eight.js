// All emotions at once: as many tasks of the same files and seed, shown in a grid that plays in step.

import * as api from "./api.js";
import { emotion, emotions } from "./emotions.js";
import { face } from "./faces.js";
import * as history from "./history.js";
import { announce, bringIntoView, byId, calm, complain, element, show } from "./page.js";
import { portrait } from "./portrait.js";
import { emotionName, t } from "./texts.js";
import * as uploads from "./uploads.js";
import { zip } from "./zip.js";

const ASK_MS = 1200;
const STEP_S = 0.1; // what two videos may differ by
const MAX_SEED = 2 ** 31 - 1;

let shown = null; // the set: its name is with each of its tasks in the list
let timer = 0;
let cells = new Map(); // by task: { entry, video, item, blob, url }
let callbacks = { open() {} };

const members = (set) => emotions.map((name) => history.all().find((entry) => entry.set === set && entry.emotion === name)).filter(Boolean);
const ready = () => [...cells.values()].filter(({ url }) => url);
const leader = () => ready()[0]?.video ?? null;

export const setOf = (id) => history.find(id)?.set ?? null;

export function setUp(given) {
  callbacks = given;
  byId("eight-play").addEventListener("click", () => (leader()?.paused ? play() : pause()));
  byId("eight-zip").addEventListener("click", downloadAll);
  byId("eight-cancel").addEventListener("click", cancelAll);
  byId("eight-close").addEventListener("click", () => {
    close();
    byId("all-eight").focus();
  });
}

// Starts a task for each emotion, the chosen one first. What could not be started is said by the error that is thrown.
export async function make(values, onProgress) {
  const set = [...crypto.getRandomValues(new Uint8Array(6))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const seed = values.seed ?? String(Math.floor(Math.random() * MAX_SEED)); // so that they differ in emotion only
  const first = emotion();
  let id = null;
  for (const name of [first, ...emotions.filter((one) => one !== first)]) {
    const wanted = { ...values, seed, emotion: name };
    const again = id && uploads.canRetry();
    const answer = again ? await uploads.retry(id, { emotion: name }) : await uploads.make(wanted, onProgress);
    history.add({ id: answer.task_id, emotion: name, title: portrait.name, thumbnail: portrait.thumbnail, files: uploads.uploadId(), set });
    if (!id) open(set);
    else draw();
    id ??= answer.task_id;
  }
}

export function open(set) {
  close();
  shown = set;
  show(byId("eight"));
  draw();
  bringIntoView(byId("eight"));
  follow();
}

export function close() {
  shown = null;
  clearTimeout(timer);
  for (const { url } of cells.values()) if (url) URL.revokeObjectURL(url);
  cells = new Map();
  byId("eight-grid").replaceChildren();
  complain("eight-error", null);
  show(byId("eight"), false);
}

async function follow() {
  const set = shown;
  for (const entry of members(set).filter(history.isRunning)) {
    try {
      const state = await api.status(entry.id);
      const over = state.cancelled || state.error_code === "cancelled" ? "CANCELLED" : state.status;
      history.update(entry.id, { status: over, progress: state.progress });
    } catch (error) {
      if (error.status === 404) history.update(entry.id, { status: "GONE" });
    }
    if (shown !== set) return;
    draw();
  }
  if (shown === set) timer = setTimeout(follow, ASK_MS);
}

// Cells stay what they are: a video that was built anew would begin anew.
export function draw() {
  if (!shown) return;
  const entries = members(shown).filter(({ removing }) => !removing);
  for (const [id, { item }] of cells) {
    if (entries.some((entry) => entry.id === id)) continue;
    item.remove();
    cells.delete(id);
  }
  for (const entry of entries) {
    if (!cells.has(entry.id)) cells.set(entry.id, cellOf(entry));
    fill(cells.get(entry.id));
  }
  entries.forEach(({ id }, place) => {
    const { item } = cells.get(id);
    const there = byId("eight-grid").children[place];
    if (there !== item) byId("eight-grid").insertBefore(item, there ?? null); // moving a video would stop it
  });
  const running = entries.filter(history.isRunning).length;
  show(byId("eight-cancel"), running > 0 && api.offers("synthesis/{task_id}/cancel", "post"));
  show(byId("eight-play"), ready().length > 0);
  show(byId("eight-zip"), ready().length > 1 && !running);
  drawPlay();
}

function cellOf(entry) {
  const video = element("video", { playsInline: true, preload: "auto", hidden: true });
  const still = element("img", { src: (uploads.mine(entry.id) ? portrait.url : entry.thumbnail) ?? "", alt: "", className: "still" });
  const words = element("span", { className: "cell-state" });
  const open = element("button", { type: "button", className: "cell-open" }, video, still, words);
  open.onclick = () => (pause(), callbacks.open(entry.id));
  const link = element("a", { className: "button plain", textContent: t("result.download"), hidden: true });
  const caption = element("div", { className: "cell-caption" }, face(entry.emotion), element("strong", {}), link);
  const item = element("li", {}, open, caption);
  item.dataset.emotion = entry.emotion;
  return { id: entry.id, entry, video, still, words, open, link, caption, item, blob: null, url: null };
}

function fill(cell) {
  const entry = history.find(cell.id);
  const name = emotionName(entry.emotion);
  cell.item.dataset.status = entry.status;
  cell.caption.querySelector("strong").textContent = name;
  cell.link.textContent = t("result.download");
  cell.link.setAttribute("aria-label", t("eight.download", { emotion: name }));
  cell.open.setAttribute("aria-label", t("eight.open", { emotion: name }));
  cell.words.textContent = entry.status === "COMPLETED" ? "" : t(`history.state.${entry.status}`, { percent: Math.floor(100 * (entry.progress ?? 0)) });
  if (entry.status === "COMPLETED" && cell.url === null) load(cell);
}

// Fetched whole: eight videos that a browser reads as they play would take all its connections to the server.
async function load(cell) {
  cell.url = ""; // on its way
  try {
    cell.blob = await api.blob(api.videoAddress(cell.id));
    if (cells.get(cell.id) !== cell) return; // the grid was closed meanwhile
    cell.url = URL.createObjectURL(cell.blob);
  } catch {
    cell.url = null; // tried again with the next answer
    return;
  }
  const { video, link } = cell;
  video.addEventListener("loadeddata", () => {
    show(video);
    show(cell.still, false);
    join(video);
  }, { once: true });
  for (const name of ["play", "pause", "ended"]) video.addEventListener(name, drawPlay);
  video.addEventListener("timeupdate", () => video === leader() && keepStep());
  video.src = cell.url;
  link.href = cell.url;
  link.download = fileName(cell.entry.emotion);
  show(link);
  draw();
  if (ready().length === emotions.length) announce(t("eight.done"));
}

const fileName = (name) => `dice-talk-${name}.mp4`;

// Only one is heard: all say the same.
function join(video) {
  const first = leader();
  for (const one of ready()) one.video.muted = one.video !== first;
  if (video === first || !first) return void (calm() || video.play().catch(() => {}));
  video.currentTime = first.currentTime;
  if (!first.paused) video.play().catch(() => {});
}

function keepStep() {
  const now = leader().currentTime;
  for (const { video } of ready()) if (Math.abs(video.currentTime - now) > STEP_S && !video.seeking) video.currentTime = Math.min(now, video.duration || now);
}

function play() {
  const first = leader();
  const from = first.ended ? 0 : first.currentTime;
  for (const { video } of ready()) {
    video.currentTime = from;
    video.play().catch(() => {});
  }
}

export function pause() {
  for (const { video } of ready()) video.pause();
}

function drawPlay() {
  const first = leader();
  byId("eight-play").textContent = t(first && !first.paused ? "eight.pause" : "eight.play");
}

async function cancelAll() {
  const running = members(shown).filter(history.isRunning);
  await Promise.all(running.map(({ id }) => api.cancel(id).catch(() => null))); // those that have just ended refuse
  clearTimeout(timer);
  await follow();
}

async function downloadAll() {
  const button = byId("eight-zip");
  complain("eight-error", null);
  button.disabled = true;
  try {
    const files = await Promise.all(
      ready().map(async ({ entry, blob }) => ({ name: fileName(entry.emotion), bytes: new Uint8Array(await blob.arrayBuffer()) })),
    );
    const url = URL.createObjectURL(zip(files));
    element("a", { href: url, download: "dice-talk.zip" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } finally {
    button.disabled = false;
  }
}
