// Camera and microphone.

import { MAX_SECONDS, pictureOf } from "./media.js";
import { clock, t } from "./texts.js";

// Browsers hide both on pages that came over plain http from another machine.
export const allowed = () => Boolean(navigator.mediaDevices?.getUserMedia);

const stop = (stream) => stream.getTracks().forEach((track) => track.stop());

// Opens the dialog; returns the picture, or null. Throws if there is no camera or no permission to use it.
export async function takePicture(dialog) {
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } },
  });
  const video = dialog.querySelector("video");
  video.srcObject = stream;
  const taken = new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "take");
  });
  dialog.returnValue = "";
  dialog.showModal();
  try {
    await video.play();
    if (!(await taken)) return null;
    return new File([await pictureOf(video)], "camera.jpg", { type: "image/jpeg" });
  } finally {
    stop(stream);
    video.srcObject = null;
  }
}

// `finish()` ends the recording and returns the file; `onLevel` receives the loudness (0 to 1) and the seconds so far.
export async function record(onLevel, onFull) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, autoGainControl: true } });
  const recorder = new MediaRecorder(stream);
  const pieces = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 1024 });
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const begun = performance.now();
  const meter = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
    const seconds = (performance.now() - begun) / 1000;
    onLevel(Math.min(1, power * 4), seconds);
    if (seconds >= MAX_SECONDS) onFull();
  }, 60);
  const stopped = new Promise((resolve) => {
    recorder.onstop = resolve;
  });
  recorder.start();
  return {
    async finish() {
      clearInterval(meter);
      const seconds = (performance.now() - begun) / 1000;
      if (recorder.state !== "inactive") recorder.stop();
      await stopped;
      stop(stream);
      await context.close();
      return new File(pieces, t("speech.name", { time: clock(seconds) }), { type: recorder.mimeType });
    },
  };
}
