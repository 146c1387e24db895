// Calls of the server. What it can do is read from its OpenAPI document, so that the page fits older and newer ones.

import { fromServer, original, sentences, t } from "./texts.js";

const BASE = "api/v1/synthesis";
const KEY = "dice-talk.key";
const POLL_MS = 700;
const RETRY_MS = 2000;

export class ApiError extends Error {
  constructor(status, body = {}, retryAfter = null) {
    super(body.error ?? "");
    this.status = status;
    this.error = body.error ?? "";
    this.detail = body.detail ?? "";
    this.code = body.code ?? null;
    this.params = body.params ?? {};
    this.retryAfter = retryAfter;
  }

  get needsKey() {
    return ["key_missing", "key_unknown", "key_revoked"].includes(this.code);
  }

  // In the language of the page.
  get words() {
    if (this.status === 0) return t("error.network");
    const words = fromServer(this) || t("error.unexpected", { status: this.status });
    const wait = this.retryAfter ? t("error.later", { time: t("time.seconds", { n: this.retryAfter }) }) : "";
    return wait ? sentences(words, wait) : words;
  }

  get original() {
    return original(this);
  }
}

// The key lives in one of the two stores: for this tab, or for good where the person said so.
const stores = () => {
  try {
    return [sessionStorage, localStorage];
  } catch {
    return [];
  }
};
let key = stores().map((store) => store.getItem(KEY)).find(Boolean) ?? null;

export const hasKey = () => key !== null;

export function setKey(value, remember) {
  key = value || null;
  const [session, local] = stores();
  session?.removeItem(KEY);
  local?.removeItem(KEY);
  if (key) (remember ? local : session)?.setItem(KEY, key);
}

const authorization = () => (key ? { Authorization: `Bearer ${key}` } : {});

async function call(path, { method = "GET", body, headers, signal, keepalive } = {}) {
  let response;
  try {
    response = await fetch(path, { method, body, signal, keepalive, headers: { ...authorization(), ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(response.status, body, Number(response.headers.get("Retry-After")) || null);
}

const json = async (...parameters) => (await call(...parameters)).json();

let document_ = null;

// What there is: calls by path, and the form's fields.
export async function discover() {
  document_ = await json("openapi.json");
  return document_;
}

export function offers(path, method) {
  return Boolean(document_?.paths?.[`/api/v1/${path}`]?.[method]);
}

export const takesKeys = () => Boolean(document_?.components?.securitySchemes);

// The fields of the form that starts a task, in the document's order, with references resolved.
export function formFields() {
  const content = document_.paths["/api/v1/synthesis/start"].post.requestBody.content["multipart/form-data"];
  const resolve = (schema) => (schema.$ref ? { ...at(schema.$ref), ...schema } : schema);
  const at = (reference) => reference.slice(2).split("/").reduce((value, name) => value[name], document_);
  const form = resolve(content.schema);
  return Object.entries(form.properties).map(([name, field]) => ({ name, ...resolve(field) }));
}

export const engines = () => json("api/v1/engines");
export const health = () => json("api/health");
export const status = (id, signal) => json(`${BASE}/${id}/status`, { signal });
export const receipt = (id, signal) => json(`${BASE}/${id}/receipt`, { signal });
export const remove = (id, last = false) => call(`${BASE}/${id}`, { method: "DELETE", keepalive: last });
export const cancel = (id) => json(`${BASE}/${id}/cancel`, { method: "POST" });
export const preflight = (body, signal) => json("api/v1/preflight", { method: "POST", body, signal });
export const verify = (body, signal) => json("api/v1/verify", { method: "POST", body, signal });
export const retry = (id, body) => json(`${BASE}/${id}/retry`, { method: "POST", body });

// Elements such as <video> can't send a key; with one, their source is fetched here and handed over as a blob.
export const videoAddress = (id) => `${BASE}/${id}/download`;
export const posterAddress = (id) => `${BASE}/${id}/poster`;
export const receiptAddress = (id) => `${BASE}/${id}/receipt`;
export const blob = async (address, signal) => (await call(address, { signal })).blob();

// fetch() can't tell how much was sent.
export function start(body, idempotencyKey, onProgress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0));
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // The status alone says it.
      }
      if (request.status >= 200 && request.status < 300) resolve(answer);
      else reject(new ApiError(request.status, answer, Number(request.getResponseHeader("Retry-After")) || null));
    };
  });
  request.open("POST", `${BASE}/start`);
  for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
  request.setRequestHeader("Idempotency-Key", idempotencyKey);
  request.send(body);
  return done;
}

export const hasEnded = (state) => state.status === "COMPLETED" || state.status === "FAILED";

export const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

// Calls `onState` with each state until the task has ended, `onPreview` with pictures of the unfinished video, and
// `onLost` while the server can't be reached.
export async function follow(id, { signal, onState, onLost, onPreview }) {
  let last = null;
  const see = (state) => {
    last = state;
    if (!signal.aborted) onState(state);
  };
  let events = offers("synthesis/{task_id}/events", "get");
  let lastEvent = null;
  while (!signal.aborted && !(last && hasEnded(last))) {
    try {
      if (events) {
        const headers = { Accept: "text/event-stream", ...(lastEvent ? { "Last-Event-ID": lastEvent } : {}) };
        const response = await call(`${BASE}/${id}/events?previews=true`, { headers, signal });
        for await (const event of serverSentEvents(response.body)) {
          lastEvent = event.id ?? lastEvent;
          if (!event.data || signal.aborted) continue;
          if (event.event === "preview") onPreview(JSON.parse(event.data));
          else see(JSON.parse(event.data));
        }
        // A stream that ends before the task has is opened again, but not in a tight loop.
        if (!(last && hasEnded(last))) await pause(POLL_MS, signal);
      } else {
        see(await status(id, signal));
        if (!hasEnded(last)) await pause(POLL_MS, signal);
      }
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (error instanceof ApiError && events && [404, 405, 406].includes(error.status)) {
        events = false; // the status call then says whether it is the task that is missing
      } else if (error instanceof ApiError && error.status > 0 && error.status < 500 && error.status !== 429) {
        throw error;
      } else {
        onLost();
        await pause(RETRY_MS, signal);
      }
    }
  }
}

// EventSource can't send a key, so the stream is read here. Lines may end in CR, LF or both.
async function* serverSentEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = {};
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if ("data" in event) yield event;
        event = {};
        continue;
      }
      const [, name, text] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === "data" && "data" in event) event.data += `\n${text}`;
      else if (name) event[name] = text;
    }
  }
}

// Names of the fields that a call of the form kind takes; null where the document does not say.
export function schemaOf(path) {
  const content = document_?.paths?.[`/api/v1/${path}`]?.post?.requestBody?.content?.["multipart/form-data"];
  const schema = content?.schema?.$ref ? document_.components.schemas[content.schema.$ref.split("/").pop()] : content?.schema;
  return schema?.properties ?? null;
}
