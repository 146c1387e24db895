// What was uploaded, and for which task: so that nothing is uploaded twice, and a reload loses nothing.

import * as api from "./api.js";
import { choose } from "./emotions.js";
import * as history from "./history.js";
import * as kept from "./kept.js";
import * as options from "./options.js";
import * as portraits from "./portrait.js";
import { portrait } from "./portrait.js";
import * as speeches from "./speech.js";
import { speech } from "./speech.js";

let uploaded = null; // { id, image, audio, values }
let submission = null; // the same key goes with the same form, so that a repeated one is not rendered twice

export const uploadId = () => uploaded?.id ?? null;

const current = () => Boolean(uploaded) && uploaded.image === portrait.file && uploaded.audio === speech.file;

// Whether the task was made from the files that are chosen now.
export const mine = (id) => current() && history.find(id)?.files === uploaded.id;

export const canRetry = () => api.offers("synthesis/{task_id}/retry", "post");

// The task whose files are those that are chosen now. What was set then and is not now could not be unset by a retry.
export function reusable(values) {
  if (!uploaded || !canRetry()) return null;
  return current() && Object.keys(uploaded.values).every((name) => name in values) ? uploaded.id : null;
}

const encode = (values, files = {}) => {
  const body = new FormData();
  for (const [name, value] of Object.entries({ ...values, ...files })) body.set(name, value);
  return body;
};

// Makes a task of what is chosen; uploads the files only if the server has them no more.
export async function make(values, onProgress) {
  const before = reusable(values);
  if (before) {
    try {
      return await api.retry(before, encode(values));
    } catch (error) {
      if (![400, 404, 405, 409].includes(error.status)) throw error;
      uploaded = null; // it is not there any more: send the files again
    }
  }
  return upload(values, onProgress);
}

export async function upload(values, onProgress) {
  const files = { image: portrait.file, audio: speech.file };
  const content = JSON.stringify([values, portrait.url, speech.url]);
  if (submission?.content !== content) submission = { content, key: randomKey() };
  const answer = await api.start(encode(values, files), submission.key, onProgress);
  submission = null;
  uploaded = { id: answer.task_id, ...files, values };
  kept.keep(uploaded.id, uploaded);
  return answer;
}

// Another task of the same files.
export const retry = (id, values) => api.retry(id, encode(values));

// crypto.randomUUID is missing on plain http.
const randomKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// Chooses again what a task of the list was made of; false where this browser has it no more.
export async function restore(entry) {
  const found = await kept.find(entry?.files);
  if (!found) return false;
  options.fill(found.values);
  choose(entry.emotion);
  await portraits.take(found.image, { faceIndex: Number(found.values.face_index ?? 0), decided: true });
  await speeches.take(found.audio);
  uploaded = { ...found, image: portrait.file, audio: speech.file };
  return true;
}
