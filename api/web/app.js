// Puts the parts of the page together: what is chosen, what is sent, what is shown on the stage.

import * as api from "./api.js";
import * as emotions from "./emotions.js";
import { emotion } from "./emotions.js";
import { face } from "./faces.js";
import { acceptDrops } from "./files.js";
import * as health from "./health.js";
import * as history from "./history.js";
import * as kept from "./kept.js";
import * as keys from "./keys.js";
import * as options from "./options.js";
import { MAX_SECONDS } from "./media.js";
import { announce, bringIntoView, byId, complain, element, show } from "./page.js";
import * as portraits from "./portrait.js";
import { portrait } from "./portrait.js";
import * as shelf from "./shelf.js";
import * as samples from "./samples.js";
import * as sizes from "./sizes.js";
import * as speeches from "./speech.js";
import { speech } from "./speech.js";
import * as tasks from "./task.js";
import { task } from "./task.js";
import * as uploads from "./uploads.js";
import { mine } from "./uploads.js";
import * as verification from "./verification.js";
import { currentLanguage, durationRange, emotionName, errorOf, fileOf, fromServer, original, sentences, switchLanguage, t, translate } from "./texts.js";

let view = "portrait";
let sending = false;
let restoring = false;

// --- What is chosen

function buildAgain() {
  byId("again-faces").replaceChildren(
    ...emotions.emotions.map((name) => {
      const button = element("button", { type: "button", title: emotionName(name) }, face(name));
      button.dataset.emotion = name;
      button.setAttribute("aria-label", t("result.again.one", { emotion: emotionName(name) }));
      button.onclick = () => again(name);
      return button;
    }),
  );
}

// Within the bounds that the form has for it; null while nobody knows.
function videoSeconds() {
  const known = [speech.seconds, parseFloat(options.value("duration"))].filter((seconds) => seconds > 0);
  return speech.file && known.length ? Math.max(0.1, Math.min(MAX_SECONDS, ...known)) : null;
}

function form() {
  const values = { emotion: emotion(), ...options.values() };
  if (portrait.faceIndex) values.face_index = portrait.faceIndex;
  return values;
}

// Whether the server has found that it could not make a video of the picture.
const blocked = () => Boolean(portrait.file && portrait.found?.warnings?.some(({ blocking }) => blocking));

// --- What is sent

async function submit(event) {
  event.preventDefault();
  if (sending) return;
  clearErrors();
  if (!portrait.file) return missing("portrait-error", t("submit.portrait"), byId("image-file"));
  if (!speech.file) return missing("speech-error", t("submit.speech"), byId("audio-file"));
  if (!options.allValid()) return;
  if (blocked()) return missing("portrait-findings", null, byId("image-file"));
  await send(async () => {
    const values = form();
    return [await uploads.make(values, drawUpload), values];
  });
}

function drawUpload(share) {
  byId("submit").style.setProperty("--share", share);
  byId("submit-text").textContent = share < 1 ? t("submit.uploading", { percent: Math.floor(share * 100) }) : t("submit.checking");
}

// Does `work`, which gives the server's answer and the values sent; then shows the new task.
async function send(work, errorPlace = "submit-error") {
  sending = true;
  drawSubmit();
  const known = history.find(task.id);
  const own = errorPlace === "submit-error" || mine(task.id);
  try {
    const [answer, values] = await work();
    history.add({
      id: answer.task_id,
      emotion: values.emotion,
      title: own ? portrait.name : (known?.title ?? ""),
      thumbnail: own ? portrait.thumbnail : known?.thumbnail,
      files: own ? uploads.uploadId() : known?.files,
    });
    openTask(answer.task_id, true);
    bringIntoView(byId("frame"));
  } catch (error) {
    explain(error, errorPlace);
  } finally {
    sending = false;
    drawSubmit();
  }
}

function again(name) {
  if (sending) return;
  clearErrors();
  const from = task.id;
  // Where files and fields are still here, the choice of the face is shown there too.
  if (mine(from)) {
    emotions.choose(name);
  }
  send(async () => {
    if (uploads.canRetry()) return [await uploads.retry(from, { emotion: name }), { emotion: name }];
    const values = { ...form(), emotion: name };
    return [await uploads.upload(values, drawUpload), values];
  }, "again-error");
}

// Chooses again what the task on the stage was made of.
async function reuse() {
  if (!(await withFiles(history.find(task.id)))) return drawStage();
  showView("portrait");
  bringIntoView(byId("frame"));
  byId("image-file").focus({ preventScroll: true });
}

async function withFiles(entry) {
  restoring = true;
  try {
    return await uploads.restore(entry);
  } finally {
    restoring = false;
    drawStage();
    drawSubmit();
  }
}

// --- What went wrong, beside what caused it

function clearErrors() {
  for (const id of ["submit-error", "again-error", "emotion-error"]) complain(id, null);
  complain("portrait-error", null, byId("image-file"));
  complain("speech-error", null, byId("audio-file"));
}

// `words`: null where they stand there already.
function missing(id, words, field, original = "") {
  if (words !== null) complain(id, words, field, original);
  if (id.startsWith("portrait")) showView("portrait");
  bringIntoView(byId(id));
  field.focus({ preventScroll: true });
}

function explain(error, place = "submit-error") {
  if (error.status === undefined) throw error;
  if (error.needsKey) return keys.ask(api.hasKey() ? fromServer(error) : null);
  if (options.blame(error, error.params.field)) return;
  const file = fileOf(error);
  if (file === "image") missing("portrait-error", error.words, byId("image-file"), error.original);
  else if (file === "audio") missing("speech-error", error.words, byId("audio-file"), error.original);
  else complain(place, error.words, null, error.original);
}

// A task that failed because of what was sent says so there as well.
function onFailed(state, words) {
  if (!mine(task.id)) return;
  const error = errorOf(state);
  const file = fileOf(error);
  if (file === "image") complain("portrait-error", words, byId("image-file"), original(error));
  else if (file === "audio") complain("speech-error", words, byId("audio-file"), original(error));
}

// --- What is shown

function openTask(id, play) {
  tasks.open(id, { url: mine(id) ? portrait.url : null, play });
  showView("task");
}

function showView(wanted) {
  view = wanted === "task" && task.id ? "task" : "portrait";
  if (view === "portrait") byId("video").pause();
  drawStage();
}

function drawStage() {
  const onTask = view === "task";
  const has = Boolean(portrait.file);
  show(byId("views"), Boolean(task.id));
  show(byId("portrait-number"), !onTask);
  byId("portrait-heading").textContent = t(onTask ? "view.video" : "portrait.title");
  for (const button of byId("views").children) button.setAttribute("aria-pressed", button.dataset.view === view);
  byId("frame").dataset.view = onTask ? "task" : has ? "picture" : "empty";
  show(byId("empty"), !onTask && !has);
  show(byId("picture"), !onTask && has);
  show(byId("portrait-tools"), !onTask);
  show(byId("portrait-findings"), !onTask);
  show(byId("task-findings"), onTask);
  show(byId("image-remove"), has);
  samples.draw(onTask);
  byId("image-label").textContent = t(has ? "portrait.change" : "portrait.choose");
  byId("image-label").classList.toggle("primary", !has);
  if (onTask) tasks.redraw();
  else for (const id of ["running", "video", "failed", "result"]) show(byId(id), false);
  const status = task.state ? tasks.statusOf(task.state) : null;
  const possible = uploads.canRetry() || mine(task.id);
  show(byId("again"), onTask && possible && (status === "COMPLETED" || status === "CANCELLED"));
  const made = history.find(task.id)?.emotion;
  for (const button of byId("again-faces").children) button.classList.toggle("made", button.dataset.emotion === made);
  offerReuse(onTask);
  if (byId("portrait-error").textContent) show(byId("portrait-error"), !onTask);
}

// Where the files of a task are not those that are chosen, but this browser still has them.
async function offerReuse(onTask) {
  const button = byId("reuse");
  if (!onTask || mine(task.id)) return show(button, false);
  const { id } = task;
  const offered = await kept.has(history.find(id)?.files);
  if (id === task.id) show(button, offered && view === "task" && !mine(id));
}

function drawSubmit() {
  const button = byId("submit");
  button.setAttribute("aria-disabled", sending || blocked());
  button.classList.toggle("busy", sending);
  if (!sending) {
    button.style.removeProperty("--share");
    byId("submit-text").textContent = t("submit");
  }
  byId("submit-note").textContent = sending ? "" : note();
}

function note() {
  if (blocked()) return t("submit.blocked");
  const estimate = portrait.found?.eta_seconds;
  const parts = [];
  if (estimate && portrait.file && speech.file) parts.push(t("submit.estimate", { time: durationRange(estimate) }));
  if (uploads.reusable(form())) parts.push(t("submit.again"));
  return sentences(...parts);
}

function onInput(answer, error) {
  if (error) explain(error);
  if (!answer && !restoring) showView("portrait");
  if (!error) portraits.lookAgain(); // else it would be asked, and refused, without end
  drawStage();
  drawSubmit();
}

// --- The server

async function connect() {
  await api.discover();
  const fields = api.formFields();
  emotions.build(fields.find(({ name }) => name === "emotion").enum);
  buildAgain();
  options.build(fields, () => {
    portraits.lookAgain();
    sizes.draw();
    drawSubmit();
  });
  sizes.build();
  if (api.offers("engines", "get")) await options.learnEngines(api.engines);
  show(byId("key-button"), api.takesKeys());
  show(byId("verify"), api.offers("verify", "post"));
  if (api.takesKeys() && !api.hasKey()) keys.ask();
}

async function resume() {
  shelf.draw();
  const running = history.all().find(history.isRunning);
  if (running) {
    openTask(running.id, false);
    await withFiles(running);
  }
  await shelf.finishRemovals();
  await shelf.refresh();
}

// --- Words

function speak() {
  document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
  document.title = t("page.title");
  translate(document);
  byId("language").lang = currentLanguage() === "zh" ? "en" : "zh-CN";
  emotions.build();
  buildAgain();
  options.relabel();
  sizes.build();
  samples.build(explain);
  portraits.draw();
  speeches.draw();
  shelf.draw();
  verification.draw();
  drawStage();
  drawSubmit();
  health.draw();
}

async function main() {
  translate(document);
  document.title = t("page.title");
  document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
  byId("language").addEventListener("click", switchLanguage);
  document.addEventListener("language", speak);
  byId("studio").addEventListener("submit", submit);
  byId("emotions").addEventListener("change", () => (emotions.draw(), drawSubmit()));
  byId("views").addEventListener("click", (event) => event.target.dataset.view && showView(event.target.dataset.view));
  byId("failed-back").addEventListener("click", () => {
    showView("portrait");
    byId("image-file").focus();
  });
  byId("reuse").addEventListener("click", reuse);
  samples.setUp();
  portraits.setUp(onInput, videoSeconds);
  speeches.setUp(onInput);
  tasks.setUp({
    onChange: () => {
      drawStage();
      shelf.draw();
      shelf.usePoster(history.find(task.id));
    },
    onError: (error) => explain(error),
    onFailed,
    hasFiles: () => mine(task.id),
  });
  shelf.setUp(
    (entry) => {
      openTask(entry.id, true);
      bringIntoView(byId("frame"));
    },
    (entry) => {
      if (entry.id !== task.id) return;
      tasks.close();
      showView("portrait");
    },
    () => task.id,
  );
  keys.setUp(async () => {
    complain("submit-error", null);
    if (api.offers("engines", "get")) options.learnEngines(api.engines);
    portraits.lookAgain(0);
    speeches.lookAgain();
    await shelf.refresh();
  });
  verification.setUp();
  acceptDrops();
  emotions.draw();
  health.watch();
  while (true) {
    try {
      await connect();
      break;
    } catch (error) {
      if (error.status === undefined) throw error;
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
  }
  speak();
  await resume();
  if (!history.kept) announce(t("error.storage"));
}

main();
