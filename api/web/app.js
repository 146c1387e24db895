// Puts the parts of the page together: what is chosen, what is sent, what is shown on the stage.

import * as address from "./address.js";
import * as api from "./api.js";
import * as eight from "./eight.js";
import * as emotions from "./emotions.js";
import { emotion } from "./emotions.js";
import { face } from "./faces.js";
import { acceptDrops } from "./files.js";
import * as health from "./health.js";
import * as history from "./history.js";
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
import * as stage from "./stage.js";
import * as tasks from "./task.js";
import { task } from "./task.js";
import * as uploads from "./uploads.js";
import { mine } from "./uploads.js";
import * as verification from "./verification.js";
import { durationRange, emotionName, errorOf, fileOf, fromServer, languageNames, languageTag, loadLanguages, original, sentences, setLanguage, switchLanguage, t, translate } from "./texts.js";

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

// Whether everything is there to make a video; if not, it is said what is missing.
function complete() {
  clearErrors();
  if (!portrait.file) return missing("portrait-error", t("submit.portrait"), byId("image-file"));
  if (!speech.file) return missing("speech-error", t("submit.speech"), byId("audio-file"));
  if (!options.allValid()) return false;
  return blocked() ? missing("portrait-findings", null, byId("image-file")) : true;
}

async function submit(event) {
  event.preventDefault();
  if (sending || !complete()) return;
  await send(async () => {
    const values = form();
    return [await uploads.make(values, drawUpload), values];
  });
}

async function submitAll() {
  if (sending || !complete()) return;
  sending = true;
  drawSubmit();
  try {
    await eight.make(form(), drawUpload);
  } catch (error) {
    explain(error, byId("eight").hidden ? "submit-error" : "eight-error");
  } finally {
    sending = false;
    drawSubmit();
    shelf.draw();
  }
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
    stage.openTask(answer.task_id, true);
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
  if (!(await withFiles(history.find(task.id)))) return stage.draw();
  stage.showView("portrait");
  bringIntoView(byId("frame"));
  byId("image-file").focus({ preventScroll: true });
}

async function withFiles(entry) {
  restoring = true;
  try {
    return await uploads.restore(entry);
  } finally {
    restoring = false;
    stage.draw();
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
  if (id.startsWith("portrait")) stage.showView("portrait");
  bringIntoView(byId(id));
  field.focus({ preventScroll: true });
  return false;
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

// --- The button that sends it

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
  if (!answer && !restoring) stage.showView("portrait");
  if (!error) portraits.lookAgain(); // else it would be asked, and refused, without end
  stage.draw();
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
  const id = address.addressed() ?? history.all().find(history.isRunning)?.id;
  if (id) {
    stage.openTask(id, false, false);
    const entry = history.find(id);
    if (entry && history.isRunning(entry)) await withFiles(entry);
  }
  await shelf.finishRemovals();
  await shelf.refresh();
}

// --- Words

function label() {
  document.documentElement.lang = languageTag();
  document.title = t("page.title");
  translate(document);
  byId("language").lang = languageTag() === "zh-CN" ? "en" : "zh-CN";
  byId("languages").replaceChildren(...languageNames().map(({ code, name, tag }) => element("option", { value: code, lang: tag, textContent: name, selected: tag === languageTag() })));
  const several = languageNames().length > 2; // of two, a button shows the other
  show(byId("languages"), several);
  show(byId("language"), !several);
}

function speak() {
  label();
  emotions.build();
  buildAgain();
  options.relabel();
  sizes.build();
  samples.build(explain);
  portraits.draw();
  speeches.draw();
  shelf.draw();
  eight.draw();
  verification.draw();
  stage.draw();
  drawSubmit();
  health.draw();
}

async function main() {
  label();
  const languages = loadLanguages();
  byId("language").addEventListener("click", switchLanguage);
  byId("languages").addEventListener("change", (event) => setLanguage(event.target.value));
  document.addEventListener("language", speak);
  byId("studio").addEventListener("submit", submit);
  byId("emotions").addEventListener("change", () => (emotions.draw(), drawSubmit()));
  byId("views").addEventListener("click", (event) => event.target.dataset.view && stage.showView(event.target.dataset.view));
  byId("failed-back").addEventListener("click", () => {
    stage.showView("portrait");
    byId("image-file").focus();
  });
  byId("reuse").addEventListener("click", reuse);
  byId("all-eight").addEventListener("click", submitAll);
  byId("eight-show").addEventListener("click", () => eight.open(eight.setOf(task.id)));
  eight.setUp({
    open(id) {
      stage.openTask(id, true);
      bringIntoView(byId("frame"));
    },
  });
  samples.setUp();
  address.setUp(stage.move);
  portraits.setUp(onInput, videoSeconds);
  speeches.setUp(onInput);
  tasks.setUp({
    onChange: () => {
      stage.draw();
      shelf.draw();
      shelf.usePoster(history.find(task.id));
    },
    onError: (error) => explain(error),
    onFailed,
    hasFiles: () => mine(task.id),
  });
  shelf.setUp(
    (entry) => {
      stage.openTask(entry.id, true);
      bringIntoView(byId("frame"));
    },
    (entry) => {
      if (entry.id !== task.id) return;
      tasks.close();
      address.name(null, false);
      stage.showView("portrait");
    },
    () => task.id,
  );
  keys.setUp(async () => {
    complain("submit-error", null);
    if (task.id && !task.state) stage.openTask(task.id, false, false); // it was refused without the key
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
  await languages;
  speak();
  await resume();
  if (!history.kept) announce(t("error.storage"));
}

main();
