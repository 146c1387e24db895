// The speech: a file or the microphone, its waveform, and what the server finds in it.

import * as api from "./api.js";
import * as capture from "./capture.js";
import { FileTooLarge, MAX_SECONDS, prepareSpeech, UnreadableFile } from "./media.js";
import { byId, complain, element, openOnClick, openOnEnter, show } from "./page.js";
import { warnings } from "./portrait.js";
import { clock, fileOf, t } from "./texts.js";

export const speech = { file: null, name: "", seconds: null, peaks: null, url: null, found: null };
let onChange = () => {};
let recording = null;
let checking = null;

export function setUp(changed) {
  onChange = changed;
  const audio = byId("audio");
  openOnEnter(byId("audio-file"));
  openOnClick(byId("speech-empty"), byId("audio-file"));
  byId("audio-file").addEventListener("change", (event) => {
    if (event.target.files[0]) take(event.target.files[0]);
    event.target.value = "";
  });
  byId("speech-remove").addEventListener("click", () => {
    clear();
    byId("audio-file").focus();
  });
  byId("record").addEventListener("click", toggleRecording);
  byId("play").addEventListener("click", () => (audio.paused ? audio.play() : audio.pause()));
  byId("wave").addEventListener("click", (event) => {
    if (Number.isFinite(audio.duration)) audio.currentTime = (event.offsetX / byId("wave").clientWidth) * audio.duration;
  });
  for (const name of ["play", "pause", "ended", "timeupdate", "seeked"]) audio.addEventListener(name, () => (labelPlay(), drawWave()));
  audio.addEventListener("play", followPlaying);
  new ResizeObserver(drawWave).observe(byId("wave"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawWave);
}

export async function take(file) {
  complain("speech-error", null, byId("audio-file"));
  let made;
  try {
    byId("speech-findings").replaceChildren(element("p", { className: "hint busy", textContent: t("speech.converting") }));
    made = await prepareSpeech(file);
  } catch (error) {
    draw();
    const text = error instanceof FileTooLarge ? "error.audio.large" : error instanceof UnreadableFile ? "error.audio.read" : null;
    if (!text) throw error;
    complain("speech-error", t(speech.file ? `${text}.kept` : text, { name: file.name }), byId("audio-file"));
    return;
  }
  if (speech.url) URL.revokeObjectURL(speech.url);
  Object.assign(speech, made, { url: URL.createObjectURL(made.file), name: file.name, found: null });
  byId("audio").src = speech.url;
  draw();
  onChange();
  look();
}

export function clear() {
  if (speech.url) URL.revokeObjectURL(speech.url);
  Object.assign(speech, { file: null, seconds: null, peaks: null, url: null, found: null });
  byId("audio").pause();
  byId("audio").removeAttribute("src");
  complain("speech-error", null, byId("audio-file"));
  checking?.abort();
  draw();
  onChange();
}

async function toggleRecording() {
  if (recording) {
    const { finish } = recording;
    recording = null;
    drawRecording();
    return take(await finish());
  }
  complain("speech-error", null);
  if (!capture.allowed()) return complain("speech-error", t("capture.insecure"));
  byId("audio").pause();
  try {
    recording = await capture.record(
      (level, seconds) => {
        byId("level").value = level;
        byId("recorded").textContent = clock(seconds);
      },
      () => recording && toggleRecording(),
    );
  } catch {
    complain("speech-error", t("microphone.denied"));
  }
  drawRecording();
}

function drawRecording() {
  show(byId("speech-recording"), recording !== null);
  show(byId("speech-empty"), recording === null && !speech.file);
  show(byId("speech-loaded"), recording === null && Boolean(speech.file));
  byId("record-text").textContent = t(recording ? "speech.stop" : "speech.record");
  byId("record").classList.toggle("on", recording !== null);
}

// If it was not answered, for instance because the key was missing.
export function lookAgain() {
  if (speech.file && !speech.found) look();
}

async function look() {
  if (!api.offers("preflight", "post")) return;
  checking?.abort();
  checking = new AbortController();
  const body = new FormData();
  body.set("audio", speech.file);
  try {
    speech.found = await api.preflight(body, checking.signal);
    onChange(speech.found);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (fileOf(error) === "audio") complain("speech-error", error.words, byId("audio-file"), error.original);
    else if (error.needsKey) onChange(null, error);
  }
  draw();
}

export function draw() {
  drawRecording();
  byId("speech-name").textContent = speech.name;
  byId("speech-time").textContent = speech.seconds ? clock(speech.seconds) : "";
  const found = speech.found ? warnings(speech.found) : [];
  if (!found.length && speech.seconds > MAX_SECONDS) found.push(element("p", { className: "warning", textContent: t("speech.cut") }));
  byId("speech-findings").replaceChildren(...found);
  labelPlay();
  drawWave();
}

function labelPlay() {
  const playing = !byId("audio").paused;
  byId("play").classList.toggle("playing", playing);
  byId("play").setAttribute("aria-label", t(playing ? "speech.pause" : "speech.play"));
}

function followPlaying() {
  if (byId("audio").paused) return;
  drawWave();
  requestAnimationFrame(followPlaying);
}

function drawWave() {
  const canvas = byId("wave");
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !speech.file) return;
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const audio = byId("audio");
  const heard = audio.duration ? audio.currentTime / audio.duration : 0;
  const peaks = speech.peaks ?? Array(48).fill(0.3); // a recording that only the server can read
  const every = Math.max(1, Math.ceil((peaks.length * 5) / width)); // bars of at least 5 px
  const bars = peaks.filter((_, i) => i % every === 0);
  const step = width / bars.length;
  bars.forEach((peak, i) => {
    context.fillStyle = (i + 0.5) / bars.length <= heard ? style.getPropertyValue("--accent") : style.getPropertyValue("--wave");
    const tall = Math.max(3, peak * (height - 4));
    context.beginPath();
    context.roundRect(i * step + step * 0.2, (height - tall) / 2, step * 0.6, tall, step * 0.3);
    context.fill();
  });
}
