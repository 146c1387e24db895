// The portrait: choosing it, and drawing on top what the server finds in it.

import * as api from "./api.js";
import * as capture from "./capture.js";
import * as framing from "./framing.js";
import { preparePicture, thumbnail, UnreadableFile } from "./media.js";
import * as options from "./options.js";
import { byId, complain, element, openOnClick, openOnEnter } from "./page.js";
import { advice, fileOf, t } from "./texts.js";

const LOOK_AGAIN_MS = 400;
// Options that change what is found, or how long rendering takes.
const PREFLIGHT_OPTIONS = ["crop", "expand_ratio", "min_resolution", "engine", "fps", "inference_steps", "quality"];

export const portrait = { file: null, thumbnail: null, url: null, name: "", faceIndex: 0, found: null, decided: false };
let onChange = () => {};
let secondsOf = () => null;
let refusal = ""; // the preflight's last
let looking = null;
let timer = 0;
let asked = "";

// `seconds`: how long the video will be, once that is known.
export function setUp(changed, seconds) {
  [onChange, secondsOf] = [changed, seconds];
  openOnEnter(byId("image-file"));
  openOnClick(byId("empty"), byId("image-file"));
  byId("image-file").addEventListener("change", (event) => {
    if (event.target.files[0]) take(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen once more
  });
  byId("image-remove").addEventListener("click", () => {
    clear();
    byId("image-file").focus();
  });
  byId("camera").addEventListener("click", useCamera);
}

// `decided`: whether the person has said if the face is to be framed; see framing.js.
export async function take(file, { faceIndex = 0, decided = false } = {}) {
  complain("portrait-error", null);
  let made;
  try {
    made = await preparePicture(file);
  } catch (error) {
    if (!(error instanceof UnreadableFile)) throw error;
    const words = t(portrait.file ? "error.image.read.kept" : "error.image.read", { name: file.name });
    complain("portrait-error", words, byId("image-file"));
    return;
  }
  if (portrait.url) URL.revokeObjectURL(portrait.url);
  Object.assign(portrait, made, { url: URL.createObjectURL(made.file), name: file.name, faceIndex, decided, found: null });
  complain("portrait-error", null, byId("image-file"));
  byId("picture-image").src = portrait.url;
  byId("picture").style.setProperty("--ratio", made.width / made.height);
  asked = "";
  onChange();
  lookAgain(0);
}

export function clear() {
  if (portrait.url) URL.revokeObjectURL(portrait.url);
  Object.assign(portrait, { file: null, thumbnail: null, url: null, found: null, faceIndex: 0 });
  byId("picture-image").removeAttribute("src");
  complain("portrait-error", null, byId("image-file"));
  looking?.abort();
  draw();
  onChange();
}

async function useCamera() {
  complain("portrait-error", null);
  if (!capture.allowed()) return complain("portrait-error", t("capture.insecure"));
  try {
    const file = await capture.takePicture(byId("camera-dialog"));
    if (file) await take(file);
  } catch {
    complain("portrait-error", t("camera.denied"));
  }
}

// Asks for a preflight once nothing has changed for a moment.
export function lookAgain(wait = LOOK_AGAIN_MS) {
  if (!portrait.file || !api.offers("preflight", "post")) return draw();
  clearTimeout(timer); // the pending request is outdated
  if (!options.allFit()) return;
  const question = JSON.stringify([portrait.url, portrait.faceIndex, secondsOf(), ...PREFLIGHT_OPTIONS.map(options.value)]);
  if (question === asked) return;
  timer = setTimeout(() => {
    asked = question;
    look();
  }, wait);
}

const takes = (name) => {
  const body = api.schemaOf("preflight");
  return body === null || name in body;
};

async function look() {
  looking?.abort();
  looking = new AbortController();
  const body = new FormData();
  body.set("image", portrait.file);
  const changed = options.values();
  for (const name of PREFLIGHT_OPTIONS) if (name in changed && takes(name)) body.set(name, changed[name]);
  if (portrait.faceIndex) body.set("face_index", portrait.faceIndex);
  // Sent instead of the recording, which may be large, so that the server can estimate the rendering time.
  if (secondsOf() && takes("duration")) body.set("duration", secondsOf());
  if (!portrait.found) byId("portrait-findings").replaceChildren(element("p", { className: "hint busy", textContent: t("portrait.checking") }));
  try {
    const answer = await api.preflight(body, looking.signal);
    portrait.found = answer;
    const { width, height, faces } = answer.image;
    const chosen = faces.find(({ index }) => index === portrait.faceIndex);
    if (chosen) portrait.thumbnail = thumbnail(byId("picture-image"), [width, height], chosen);
    // What a task has said of the picture stays.
    if (byId("portrait-error").textContent === refusal) complain("portrait-error", null, byId("image-file"));
    framing.consider();
    onChange(answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    portrait.found = null;
    asked = ""; // so that it can be asked again
    // A missing call is not the picture's fault, and errors in options are shown when the form is sent.
    if (fileOf(error) === "image") {
      complain("portrait-error", error.words, byId("image-file"), error.original);
      refusal = byId("portrait-error").textContent;
    } else if (error.needsKey) onChange(null, error);
  }
  draw();
}

// Boxes are in pixels of the picture; percentages stay right at any size on the screen.
function place(target, box, image) {
  const share = (part, whole) => `${(100 * part) / whole}%`;
  target.style.left = share(box.left, image.width);
  target.style.top = share(box.top, image.height);
  target.style.width = share(box.width, image.width);
  target.style.height = share(box.height, image.height);
  return target;
}

export function draw() {
  const overlay = byId("overlay");
  const findings = byId("portrait-findings");
  overlay.replaceChildren();
  findings.replaceChildren();
  byId("picture-image").alt = t("portrait.alt");
  const image = portrait.found?.image;
  if (!portrait.file || !image) return;
  const { faces, crop, output } = image;
  if (crop && (crop.width < image.width || crop.height < image.height)) {
    overlay.append(place(element("div", { className: "crop" }), crop, image));
  }
  const selectable = faces.length > 1 && api.formFields().some(({ name }) => name === "face_index");
  for (const face of faces) overlay.append(place(selectable ? faceButton(face, faces.length) : element("div", { className: "face-box chosen" }), face, image));
  const count = faces.length;
  const summary = count === 0 ? t("portrait.found.none") : count === 1 ? t("portrait.found.one") : t("portrait.found.many", { count });
  const size = output ? ` · ${t("portrait.output", output)}` : "";
  // The server says at more length that there is none.
  if (count || !warnings(portrait.found).length) findings.append(element("p", { className: count ? "fine" : "warning", textContent: summary + size }));
  if (selectable) findings.append(element("p", { className: "hint", textContent: t("portrait.pick") }));
  findings.append(...warnings(portrait.found), ...framing.proposal());
}

// The picture itself shows that there are several faces; the warning is worded for programs.
export const warnings = (answer) =>
  (answer.warnings ?? [])
    .filter(({ code }) => code !== "several_faces")
    .map((one) => element("p", { className: one.blocking ? "error" : "warning", textContent: advice(one) }));

function faceButton(face, count) {
  const chosen = face.index === portrait.faceIndex;
  const button = element("button", { type: "button", className: chosen ? "face-box chosen" : "face-box" });
  button.setAttribute("aria-pressed", chosen);
  button.setAttribute("aria-label", t("portrait.face", { number: face.index + 1, count }));
  button.onclick = () => {
    portrait.faceIndex = face.index;
    draw();
    byId("overlay").querySelector('[aria-pressed="true"]')?.focus();
    lookAgain(0);
  };
  return button;
}
