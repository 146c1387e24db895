// Puts the parts of the page together: what is chosen, what is sent, what is shown on the stage.

import * as api from "./api.js";
import { face } from "./faces.js";
import { acceptDrops, useSample } from "./files.js";
import * as health from "./health.js";
import * as history from "./history.js";
import * as keys from "./keys.js";
import * as options from "./options.js";
import { MAX_SECONDS } from "./media.js";
import { announce, bringIntoView, byId, complain, element, show } from "./page.js";
import * as portraits from "./portrait.js";
import { portrait } from "./portrait.js";
import * as shelf from "./shelf.js";
import * as speeches from "./speech.js";
import { speech } from "./speech.js";
import * as tasks from "./task.js";
import { task } from "./task.js";
import * as verification from "./verification.js";
import { currentLanguage, durationRange, emotionName, errorOf, fileOf, fromServer, original, sentences, switchLanguage, t, translate } from "./texts.js";

const FIRST_EMOTION = "happy";
let emotions = [];
let view = "portrait";
let sending = false;
let uploaded = null; // which files the server has, and as which task
let submission = null; // the same key goes with the same form, so that a repeated one is not rendered twice

// --- What is chosen

const emotion = () => document.querySelector('input[name="emotion"]:checked')?.value ?? FIRST_EMOTION;

function buildEmotions() {
  const chosen = emotion();
  byId("emotions").replaceChildren(
    ...emotions.map((name) => {
      const input = element("input", { type: "radio", name: "emotion", value: name, id: `emotion-${name}`, className: "hidden-input", checked: name === chosen });
      const label = element("label", { htmlFor: input.id }, face(name), element("span", { textContent: emotionName(name) }));
      label.dataset.emotion = name;
      return element("div", { className: "emotion" }, input, label);
    }),
  );
  byId("again-faces").replaceChildren(
    ...emotions.map((name) => {
      const button = element("button", { type: "button", title: emotionName(name) }, face(name));
      button.dataset.emotion = name;
      button.setAttribute("aria-label", t("result.again.one", { emotion: emotionName(name) }));
      button.onclick = () => again(name);
      return button;
    }),
  );
  drawEmotion();
}

function drawEmotion() {
  document.body.dataset.emotion = emotion();
  byId("empty-face").replaceChildren(face(emotion()));
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

const encode = (values, files = {}) => {
  const body = new FormData();
  for (const [name, value] of Object.entries({ ...values, ...files })) body.set(name, value);
  return body;
};

// --- What is sent

async function submit(event) {
  event.preventDefault();
  if (sending) return;
  clearErrors();
  if (!portrait.file) return missing("portrait-error", t("submit.portrait"), byId("image-file"));
  if (!speech.file) return missing("speech-error", t("submit.speech"), byId("audio-file"));
  if (!options.allValid()) return;
  await send(async () => {
    const values = form();
    const before = reusable(values);
    if (before) {
      try {
        return [await api.retry(before, encode(values)), values];
      } catch (error) {
        if (![400, 404, 405, 409].includes(error.status)) throw error;
        uploaded = null; // it is not there any more: send the files again
      }
    }
    return [await upload(values), values];
  });
}

async function upload(values) {
  const files = { image: portrait.file, audio: speech.file };
  const content = JSON.stringify([values, portrait.url, speech.url]);
  if (submission?.content !== content) submission = { content, key: randomKey() };
  const answer = await api.start(encode(values, files), submission.key, (share) => {
    byId("submit").style.setProperty("--share", share);
    byId("submit-text").textContent = share < 1 ? t("submit.uploading", { percent: Math.floor(share * 100) }) : t("submit.checking");
  });
  submission = null;
  uploaded = { id: answer.task_id, image: portrait.file, audio: speech.file, values };
  return answer;
}

// crypto.randomUUID is missing on plain http.
const randomKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// The task whose files are those that are chosen now. What was set then and is not now could not be unset by a retry.
function reusable(values) {
  if (!uploaded || !api.offers("synthesis/{task_id}/retry", "post")) return null;
  const same = uploaded.image === portrait.file && uploaded.audio === speech.file;
  return same && Object.keys(uploaded.values).every((name) => name in values) ? uploaded.id : null;
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
      files: own ? uploaded?.id : null,
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

// Whether the task was made from the files that are chosen now.
const mine = (id) => Boolean(uploaded) && history.find(id)?.files === uploaded.id && uploaded.image === portrait.file && uploaded.audio === speech.file;

function again(name) {
  if (sending) return;
  clearErrors();
  const from = task.id;
  // Where files and fields are still here, the choice of the face is shown there too.
  if (mine(from)) {
    byId(`emotion-${name}`).checked = true;
    drawEmotion();
  }
  send(async () => {
    if (api.offers("synthesis/{task_id}/retry", "post")) return [await api.retry(from, encode({ emotion: name })), { emotion: name }];
    const values = { ...form(), emotion: name };
    return [await upload(values), values];
  }, "again-error");
}

// --- What went wrong, beside what caused it

function clearErrors() {
  for (const id of ["submit-error", "again-error", "emotion-error"]) complain(id, null);
  complain("portrait-error", null, byId("image-file"));
  complain("speech-error", null, byId("audio-file"));
}

function missing(id, words, field, original = "") {
  complain(id, words, field, original);
  if (id === "portrait-error") showView("portrait");
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
  for (const button of byId("views").children) button.setAttribute("aria-pressed", button.dataset.view === view);
  byId("frame").dataset.view = onTask ? "task" : has ? "picture" : "empty";
  show(byId("empty"), !onTask && !has);
  show(byId("picture"), !onTask && has);
  show(byId("portrait-tools"), !onTask);
  show(byId("portrait-findings"), !onTask);
  show(byId("task-findings"), onTask);
  show(byId("image-remove"), has);
  show(byId("sample"), !has || !speech.file);
  byId("image-label").textContent = t(has ? "portrait.change" : "portrait.choose");
  byId("image-label").classList.toggle("primary", !has);
  if (onTask) tasks.redraw();
  else for (const id of ["running", "video", "failed", "result"]) show(byId(id), false);
  const status = task.state ? tasks.statusOf(task.state) : null;
  const possible = api.offers("synthesis/{task_id}/retry", "post") || mine(task.id);
  show(byId("again"), onTask && possible && (status === "COMPLETED" || status === "CANCELLED"));
  const made = history.find(task.id)?.emotion;
  for (const button of byId("again-faces").children) button.classList.toggle("made", button.dataset.emotion === made);
  if (byId("portrait-error").textContent) show(byId("portrait-error"), !onTask);
}

function drawSubmit() {
  const button = byId("submit");
  button.setAttribute("aria-disabled", sending);
  button.classList.toggle("busy", sending);
  if (!sending) {
    button.style.removeProperty("--share");
    byId("submit-text").textContent = t("submit");
  }
  byId("submit-note").textContent = sending ? "" : note();
}

function note() {
  const estimate = portrait.found?.eta_seconds;
  const parts = [];
  if (estimate && portrait.file && speech.file) parts.push(t("submit.estimate", { time: durationRange(estimate) }));
  if (reusable(form())) parts.push(t("submit.again"));
  return sentences(...parts);
}

function onInput(answer, error) {
  if (error) explain(error);
  if (!answer) showView("portrait");
  if (!error) portraits.lookAgain(); // else it would be asked, and refused, without end
  drawStage();
  drawSubmit();
}

// --- The server

async function connect() {
  await api.discover();
  const fields = api.formFields();
  emotions = fields.find(({ name }) => name === "emotion").enum;
  buildEmotions();
  options.build(fields, () => {
    portraits.lookAgain();
    drawSubmit();
  });
  show(byId("key-button"), api.takesKeys());
  show(byId("verify"), api.offers("verify", "post"));
  if (api.takesKeys() && !api.hasKey()) keys.ask();
}

async function resume() {
  shelf.draw();
  const running = history.all().find(({ status }) => status === "PENDING" || status === "PROCESSING");
  if (running) openTask(running.id, false);
  await shelf.refresh();
}

// --- Words

function speak() {
  document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
  document.title = t("page.title");
  translate(document);
  byId("language").lang = currentLanguage() === "zh" ? "en" : "zh-CN";
  buildEmotions();
  options.relabel();
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
  byId("emotions").addEventListener("change", () => (drawEmotion(), drawSubmit()));
  byId("views").addEventListener("click", (event) => event.target.dataset.view && showView(event.target.dataset.view));
  byId("failed-back").addEventListener("click", () => {
    showView("portrait");
    byId("image-file").focus();
  });
  byId("sample").addEventListener("click", () => useSample().catch((error) => explain(error)));
  portraits.setUp(onInput, videoSeconds);
  speeches.setUp(onInput);
  tasks.setUp({
    onChange: () => (drawStage(), shelf.draw()),
    onError: (error) => explain(error),
    onFailed,
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
    portraits.lookAgain(0);
    speeches.lookAgain();
    await shelf.refresh();
  });
  verification.setUp();
  acceptDrops();
  drawEmotion();
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
