// A small face in a large picture becomes a small face in the video. The page then proposes to frame it.

import * as options from "./options.js";
import { element } from "./page.js";
import { portrait } from "./portrait.js";
import { t } from "./texts.js";

const SMALL = 1 / 3; // of the picture's height
const ENOUGH = 256; // pixels of the frame: a smaller one would be enlarged more than twice, so it is proposed only
const PREVIEW = 88;

const isOn = () => options.value("crop") === "true";
const chosenFace = () => portrait.found?.image?.faces.find(({ index }) => index === portrait.faceIndex);
const isSmall = (face) => face.height < SMALL * portrait.found.image.height;

// Nearly the square that the server cuts out: it tells the exact one only once it is wanted.
function frameOf(face) {
  const { width, height, crop } = portrait.found.image;
  if (crop) return crop;
  const side = Math.min(width, height, Math.max(face.width, face.height) * (1 + 2 * Number(options.value("expand_ratio"))));
  const within = (wanted, most) => Math.max(0, Math.min(most - side, wanted));
  return { left: within(face.left + (face.width - side) / 2, width), top: within(face.top + (face.height - side) / 2, height), width: side, height: side };
}

// Switched on where it helps, unless the person has decided for this picture.
export function consider() {
  const face = chosenFace();
  if (!face || portrait.decided || options.value("crop") === null) return;
  options.recommend("crop", isSmall(face) && frameOf(face).width >= ENOUGH);
}

export function proposal() {
  const face = chosenFace();
  if (!face || options.value("crop") === null || !(isSmall(face) || isOn())) return [];
  const frame = frameOf(face);
  const canvas = element("canvas", { width: 2 * PREVIEW, height: 2 * PREVIEW });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", t("framing.preview"));
  const image = document.getElementById("picture-image");
  const scale = image.naturalWidth / portrait.found.image.width;
  canvas.getContext("2d").drawImage(image, frame.left * scale, frame.top * scale, frame.width * scale, frame.height * scale, 0, 0, canvas.width, canvas.height);
  const button = element("button", { type: "button", className: "button", id: "framing", textContent: t(isOn() ? "framing.whole" : "framing.frame") });
  button.onclick = () => {
    portrait.decided = true;
    options.put("crop", !isOn());
  };
  const words = element("p", { textContent: t(isOn() ? "framing.on" : "framing.off") });
  return [element("div", { className: "framing" }, canvas, element("div", {}, words, button))];
}
