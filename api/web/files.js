// Files that are dropped or pasted anywhere on the page.

import { complain } from "./page.js";
import * as portraits from "./portrait.js";
import * as speeches from "./speech.js";
import { t } from "./texts.js";
import * as verification from "./verification.js";

const isPicture = (file) => file.type.startsWith("image/");
// Some systems report no type for recordings of phones, and many report a video type.
const isRecording = (file) => /^(audio|video)\//.test(file.type) || /\.(wav|mp3|m4a|ogg|opus|flac)$/i.test(file.name);

function takeFiles(files) {
  for (const file of files) {
    if (isPicture(file)) portraits.take(file);
    else if (isRecording(file)) speeches.take(file);
    else complain("drop-error", t("error.drop"));
  }
}

export function acceptDrops() {
  const over = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0; // enter and leave fire for every element that is crossed
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", (event) => over(event) && mark(1));
  document.addEventListener("dragleave", (event) => over(event) && mark(-1));
  document.addEventListener("dragover", (event) => over(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!over(event)) return;
    event.preventDefault();
    mark(-depth);
    complain("drop-error", null);
    const files = [...event.dataTransfer.files];
    if (event.target.closest?.("#verify")) verification.take(files[0]);
    else takeFiles(files);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    takeFiles(files);
  });
}
