// Portraits and voices to begin with, and the clip that plays on the empty stage. Where they come from is in
// sample/NOTICE.txt.

import * as api from "./api.js";
import { byId, calm, element, show } from "./page.js";
import * as portraits from "./portrait.js";
import { portrait } from "./portrait.js";
import * as speeches from "./speech.js";
import { speech } from "./speech.js";
import { t } from "./texts.js";

const FOLDER = "web/sample/";
const PORTRAITS = ["collins.jpg", "mei.jpg", "amara.jpg", "henrik.jpg", "rosa.jpg"];
const VOICES = ["heart.wav", "rms.mp3"];
const TYPES = { jpg: "image/jpeg", wav: "audio/wav", mp3: "audio/mpeg" };

const stem = (file) => file.split(".")[0];
const isSample = ({ file }, samples) => Boolean(file) && samples.includes(file.name);

async function fetched(name) {
  return new File([await api.blob(FOLDER + name)], name, { type: TYPES[name.split(".")[1]] });
}

// `failed`: called with an error of the server.
export function build(failed) {
  const attempt = (work) => () => work().catch(failed);
  byId("samples").replaceChildren(
    ...PORTRAITS.map((name) => {
      const button = element("button", { type: "button", title: t(`sample.${stem(name)}`) }, element("img", { src: FOLDER + name, alt: "", width: 64, height: 64 }));
      button.setAttribute("aria-label", t("sample.take", { name: t(`sample.${stem(name)}`) }));
      button.dataset.sample = name;
      button.onclick = attempt(() => takePortrait(name));
      return button;
    }),
  );
  byId("voices").replaceChildren(
    ...VOICES.map((name) => {
      const button = element("button", { type: "button", className: "button plain", textContent: t(`sample.${stem(name)}`) });
      button.dataset.sample = name;
      button.onclick = attempt(async () => speeches.take(await fetched(name)));
      return button;
    }),
  );
  draw();
}

// With a voice, if there is none yet: one click is enough for a first video.
async function takePortrait(name) {
  await portraits.take(await fetched(name));
  if (!speech.file) await speeches.take(await fetched(VOICES[0]));
}

// They stay where one of them is chosen, to try the others.
export function draw(onTask = false) {
  show(byId("sample-row"), !onTask && (!portrait.file || isSample(portrait, PORTRAITS)));
  show(byId("voice-row"), !speech.file || isSample(speech, VOICES));
  for (const button of byId("samples").children) button.setAttribute("aria-pressed", portrait.file?.name === button.dataset.sample);
  for (const button of byId("voices").children) button.setAttribute("aria-pressed", speech.file?.name === button.dataset.sample);
  playClip(!onTask && !portrait.file);
}

let paused = false; // by the person

// The clip is fetched only where it is shown and may move.
function playClip(visible) {
  const clip = byId("clip");
  const wanted = visible && !paused && !calm();
  if (wanted && !clip.getAttribute("src")) clip.src = `${FOLDER}clip.mp4`;
  if (wanted) clip.play().catch(() => {}); // a browser that lets nothing play by itself shows the poster
  else clip.pause();
  show(byId("clip-pause"), !calm());
  byId("clip-pause").classList.toggle("playing", wanted);
  byId("clip-pause").setAttribute("aria-label", t(wanted ? "clip.pause" : "clip.play"));
}

export function setUp() {
  byId("clip").poster = `${FOLDER}clip.jpg`;
  byId("clip-pause").addEventListener("click", () => {
    paused = !paused;
    draw();
  });
}
