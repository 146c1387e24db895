// One task on the stage: its progress, then its video, or why there is none.

import * as api from "./api.js";
import { face } from "./faces.js";
import * as history from "./history.js";
import { announce, byId, calm, complain, element, say, show } from "./page.js";
import { warnings } from "./portrait.js";
import { clock, duration, durationRange, emotionName, errorOf, fromServer, known, original, t } from "./texts.js";

const ASK_AGAIN_MS = 2000;

export const task = { id: null, state: null };
let entry = null;
let follower = null;
let blobUrl = null;
let receipt = null;
let asking = null;
let lastStage = "";
let callbacks = { onChange() {}, onError() {}, onFailed() {}, hasFiles: () => false };

export function setUp(given) {
  callbacks = { ...callbacks, ...given };
  byId("cancel").addEventListener("click", cancel);
  byId("details").addEventListener("toggle", fetchReceipt);
  byId("video").addEventListener("error", () => {
    if (byId("video").getAttribute("src")) complain("video-error", t("error.video"));
  });
}

// `url`: the picture, where this browser still has it; of older tasks there is a thumbnail only.
// `play`: whether the person is waiting for it, so that it may start with its sound.
export function open(id, { url = null, play = false } = {}) {
  close();
  entry = history.find(id);
  Object.assign(task, { id, state: null });
  lastStage = "";
  receipt = null;
  const image = byId("running-image");
  image.src = url ?? entry?.thumbnail ?? "";
  image.classList.toggle("small", !url);
  image.classList.remove("preview");
  draw({ status: "PENDING", stage: "queued", progress: 0 });
  follower = new AbortController();
  const { signal } = follower;
  api
    .follow(id, {
      signal,
      onState: (state) => see(state, play),
      onPreview: ({ image: picture }) => {
        image.src = picture;
        image.classList.add("preview");
      },
      onLost: () => (byId("stage-more").textContent = t("task.reconnecting")),
    })
    .catch((error) => {
      if (signal.aborted) return;
      if (error.status === 404) see({ task_id: id, status: "GONE", progress: 0 }, false);
      else callbacks.onError(error);
    });
}

export function close() {
  follower?.abort();
  Object.assign(task, { id: null, state: null });
  const video = byId("video");
  video.pause();
  video.removeAttribute("src");
  video.load();
  if (blobUrl) URL.revokeObjectURL(blobUrl);
  blobUrl = null;
  complain("video-error", null);
  document.title = t("page.title");
}

export const statusOf = (state) => (state.cancelled || state.error_code === "cancelled" ? "CANCELLED" : state.status);

function see(state, play) {
  const before = task.state;
  task.state = state;
  history.update(task.id, { status: statusOf(state), progress: state.progress });
  draw(state);
  if (state.status === "COMPLETED" && before?.status !== "COMPLETED") {
    showVideo(play);
    if (play) announce(t("task.announce.done"));
  } else if (state.status === "FAILED" && statusOf(state) !== "CANCELLED") {
    callbacks.onFailed(state, fromServer(errorOf(state)));
  }
  callbacks.onChange();
}

export function redraw() {
  if (!task.id) return;
  draw(task.state ?? { status: "PENDING", stage: "queued", progress: 0 });
  if (task.state?.status === "COMPLETED") facts();
}

function draw(state) {
  const status = statusOf(state);
  const running = status === "PENDING" || status === "PROCESSING";
  show(byId("running"), running);
  show(byId("video"), status === "COMPLETED");
  show(byId("result"), status === "COMPLETED");
  byId("label-note").textContent = state.visible_label ?? "";
  show(byId("label-note"), Boolean(state.visible_label));
  const over = !running && status !== "COMPLETED";
  show(byId("failed"), over);
  byId("task-findings").replaceChildren(...warnings(state));
  if (running) drawProgress(state);
  if (over) drawFailure(state, status);
  if (!running) document.title = t("page.title");
}

function drawProgress(state) {
  const percent = Math.floor(state.progress * 100);
  byId("percent").textContent = percent;
  byId("progress").value = state.progress;
  const stage = stageName(state);
  byId("stage-name").textContent = stage;
  byId("stage-more").textContent = [counted(state), left(state)].filter(Boolean).join(" · ");
  show(byId("cancel"), api.offers("synthesis/{task_id}/cancel", "post"));
  document.title = `${percent} % · DICE-Talk`;
  // Stages are said, figures are not: a screen reader would talk without end.
  if (stage !== lastStage) announce(stage);
  lastStage = stage;
}

function stageName(state) {
  if (state.status === "PENDING") {
    if (state.queue_position === 1) return t("task.queued.first");
    if (state.queue_position > 1) return t("task.queued.position", { position: state.queue_position });
    return t("task.queued");
  }
  const name = known(`task.${state.stage}`) ? t(`task.${state.stage}`) : state.message;
  return state.attempts > 1 ? `${name} (${t("task.attempt", { attempt: state.attempts })})` : name;
}

function counted(state) {
  if (state.frames) return t("task.frames", { frame: state.frame ?? 0, frames: state.frames });
  return state.steps ? t("task.steps", { step: state.step ?? 0, steps: state.steps }) : "";
}

// The server's estimate, or, from one that makes none, what the speed so far says.
function left(state) {
  if (state.eta_seconds) return t("task.left", { time: durationRange(state.eta_seconds) });
  if (state.status !== "PROCESSING" || state.progress < 0.1 || !(state.elapsed_seconds > 2)) return "";
  const seconds = (state.elapsed_seconds * (1 - state.progress)) / state.progress;
  return t("task.left", { time: durationRange({ low: seconds, high: seconds }) });
}

function drawFailure(state, status) {
  const titles = { CANCELLED: t("task.cancelled"), GONE: t("history.state.GONE") };
  byId("failed-title").textContent = titles[status] ?? t("task.failed");
  const words = { CANCELLED: t(callbacks.hasFiles() ? "task.cancelled.detail" : "task.cancelled.again"), GONE: t(api.takesKeys() ? "task.gone.keys" : "task.gone") }[status];
  const error = errorOf(state);
  say(byId("failed-words"), words ?? fromServer(error), words ? "" : original(error));
  byId("failed-face").replaceChildren(face(status === "CANCELLED" ? "neutral" : "sad"));
}

async function cancel() {
  const button = byId("cancel");
  button.disabled = true;
  button.textContent = t("task.cancelling");
  try {
    const state = await api.cancel(task.id);
    see(state, false);
    byId("failed-title").focus();
  } catch (error) {
    if (error.status !== 409) callbacks.onError(error); // it ended meanwhile: what follows it says how
  } finally {
    button.disabled = false;
    button.textContent = t("task.cancel");
  }
}

async function showVideo(play) {
  const { id } = task;
  const video = byId("video");
  video.setAttribute("aria-label", t("result.video", { emotion: emotionName(entry?.emotion ?? "") }));
  let address = api.videoAddress(id);
  if (api.hasKey()) {
    try {
      blobUrl = URL.createObjectURL(await api.blob(address));
      address = blobUrl;
    } catch (error) {
      return callbacks.onError(error);
    }
  } else if (api.offers("synthesis/{task_id}/poster", "get")) {
    video.poster = api.posterAddress(id);
  }
  if (task.id !== id) return;
  video.src = address;
  const download = byId("download");
  download.href = address;
  download.download = `dice-talk-${entry?.emotion ?? "video"}.mp4`;
  facts();
  fetchReceipt();
  if (play && !calm()) video.play().catch(() => {}); // the browser may want a click first
}

// Only for who looks at the details: the server measures the video for it, which takes a while.
async function fetchReceipt() {
  if (asking === follower || receipt?.measured || !byId("details").open || task.state?.status !== "COMPLETED") return;
  if (!api.offers("synthesis/{task_id}/receipt", "get")) return;
  const mine = (asking = follower); // aborted once another task is shown, or this one is removed
  try {
    while (!mine.signal.aborted && byId("details").open && !receipt?.measured) {
      const answer = await api.receipt(task.id, mine.signal);
      if (mine.signal.aborted) return;
      receipt = answer;
      facts();
      if (!receipt.measured) await api.pause(ASK_AGAIN_MS, mine.signal);
    }
  } catch (error) {
    if (mine.signal.aborted) return;
    if (receipt) {
      receipt = null; // nothing is being measured that would still be told; opening the details asks anew
      facts();
    }
    if (error.status === undefined) throw error; // else the details do without
  } finally {
    if (asking === mine) asking = null;
  }
}

function lag(seconds) {
  if (!seconds) return t("result.lag.none");
  return t(seconds > 0 ? "result.lag.late" : "result.lag.early", { ms: Math.round(1000 * Math.abs(seconds)) });
}

function facts() {
  const { id, state } = task;
  const weights = state.weights && state.weights !== "published" ? ` (${state.weights})` : "";
  const rows = [
    [t("result.engine"), state.engine + weights],
    [t("result.length"), clock(state.duration)],
    [t("result.took"), duration(state.elapsed_seconds)],
    [t("result.seed"), state.seed],
  ];
  const { result, measured } = receipt ?? {};
  if (result?.width) rows.splice(1, 0, [t("result.size"), `${result.width} × ${result.height}, ${result.fps} fps`]);
  if (Number.isFinite(measured?.lip_lag_frames)) rows.push([t("result.lag"), lag(measured.lip_lag_frames / result.fps)]);
  if (Number.isFinite(measured?.identity_similarity)) rows.push([t("result.identity"), measured.identity_similarity.toFixed(2)]);
  if (receipt && !measured) rows.push([t("result.lag"), t("result.measuring")]);
  // A plain link can't send a key.
  if (receipt && !api.hasKey()) rows.push(["", element("a", { href: api.receiptAddress(id), target: "_blank", textContent: t("result.receipt") })]);
  const lines = rows.map(([name, value]) => element("div", {}, element("dt", { textContent: name }), element("dd", {}, value)));
  byId("facts").replaceChildren(...lines);
}
