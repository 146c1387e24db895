// The list of this browser's videos.

import * as api from "./api.js";
import { face } from "./faces.js";
import * as history from "./history.js";
import { isRunning } from "./history.js";
import * as kept from "./kept.js";
import { thumbnail } from "./media.js";
import { announce, byId, complain, element, show } from "./page.js";
import { statusOf } from "./task.js";
import { ago, emotionName, t } from "./texts.js";

const LOOK_MS = 4000;
const UNDO_MS = 10_000;
let onOpen = () => {};
let onRemoved = () => {};
let current = () => null;

export function setUp(opened, removed, shown) {
  [onOpen, onRemoved, current] = [opened, removed, shown];
  setInterval(() => document.visibilityState === "visible" && refresh(isRunning), LOOK_MS);
  addEventListener("pagehide", () => removing().forEach((entry) => finish(entry, true)));
}

const removing = () => history.all().filter((entry) => entry.removing);

// Updates the tasks that may have changed; the one on the stage is followed there.
export async function refresh(which = ({ status }) => status !== "GONE") {
  for (const entry of history.all().filter((one) => which(one) && !one.removing && one.id !== current())) {
    try {
      const state = await api.status(entry.id);
      history.update(entry.id, { status: statusOf(state), progress: state.progress });
    } catch (error) {
      if (error.status !== 404) return;
      history.update(entry.id, { status: "GONE" });
    }
    draw();
    await usePoster(entry);
  }
  await kept.tidy(history.uploads());
}

// A finished video is listed with a frame of its own. Made small here, so that it is there without a key too.
export async function usePoster(entry) {
  if (!entry || entry.poster || entry.status !== "COMPLETED" || !api.offers("synthesis/{task_id}/poster", "get")) return;
  try {
    const bitmap = await createImageBitmap(await api.blob(api.posterAddress(entry.id)));
    history.update(entry.id, { poster: true, thumbnail: thumbnail(bitmap, [bitmap.width, bitmap.height]) });
    draw();
  } catch {
    // The portrait stays.
  }
}

export function draw() {
  show(byId("history"), history.all().length > 0);
  const focused = document.activeElement?.closest("#history-list li")?.dataset.id;
  const name = document.activeElement?.dataset.focus;
  byId("history-list").replaceChildren(...history.all().map((entry) => (entry.removing ? removed(entry) : item(entry))));
  if (focused) byId("history-list").querySelector(`[data-id="${CSS.escape(focused)}"] [data-focus="${name}"]`)?.focus();
}

function item(entry) {
  const state = t(`history.state.${entry.status}`, { percent: Math.floor(100 * (entry.progress ?? 0)) });
  const emotion = emotionName(entry.emotion);
  const values = { emotion, title: entry.title, when: ago(entry.at), state };
  const open = element(
    "button",
    { type: "button", className: "open", disabled: entry.status === "GONE" },
    element("span", { className: "thumb" }, element("img", { src: entry.thumbnail ?? "", alt: "", width: 128, height: 128 }), face(entry.emotion)),
    element("span", { className: "caption" }, element("strong", { textContent: emotion }), element("small", { textContent: `${ago(entry.at)} · ${state}` })),
  );
  open.dataset.focus = "open";
  open.setAttribute("aria-label", t("history.open", values));
  if (entry.id === current()) open.setAttribute("aria-current", "true");
  open.onclick = () => onOpen(entry);
  const remove = element("button", { type: "button", className: "round ghost remove" });
  remove.dataset.focus = "remove";
  remove.setAttribute("aria-label", t("history.remove", values));
  remove.onclick = () => discard(entry);
  const line = element("li", {}, open, remove);
  line.dataset.id = entry.id;
  line.dataset.status = entry.status;
  line.dataset.emotion = entry.emotion;
  return line;
}

// In the place of a video that is about to be removed.
function removed(entry) {
  const undo = element("button", { type: "button", className: "button", textContent: t("history.undo") });
  undo.dataset.focus = "undo";
  undo.onclick = () => {
    history.update(entry.id, { removing: undefined });
    draw();
    byId("history-list").querySelector(`[data-id="${CSS.escape(entry.id)}"] .open`).focus();
  };
  const line = element("li", { className: "removed" }, element("p", { textContent: t("history.removed") }), undo);
  line.dataset.id = entry.id;
  return line;
}

function discard(entry) {
  complain("history-error", null);
  history.update(entry.id, { removing: true });
  onRemoved(entry); // a removed task gets no more requests
  draw();
  byId("history-list").querySelector(`[data-id="${CSS.escape(entry.id)}"] button`).focus();
  announce(t("history.removed"));
  setTimeout(() => history.find(entry.id)?.removing && finish(entry), UNDO_MS);
}

// What was removed in a page that was closed before the time for undoing was over.
export const finishRemovals = () => Promise.all(removing().map((entry) => finish(entry)));

// `last`: the page is being left, and nothing that comes back is seen.
async function finish(entry, last = false) {
  const hadFocus = document.activeElement?.closest("#history-list li")?.dataset.id === entry.id;
  if (entry.status !== "GONE" && api.offers("synthesis/{task_id}", "delete")) {
    try {
      await api.remove(entry.id, last);
    } catch (error) {
      if (last) return;
      if (error.status === undefined) throw error;
      if (error.status !== 404) {
        history.update(entry.id, { removing: undefined });
        draw();
        return complain("history-error", t("history.kept", { reason: error.words }));
      }
    }
  }
  history.remove(entry.id);
  draw();
  if (hadFocus) (byId("history-list").querySelector(".open") ?? byId("studio")).focus();
  await kept.tidy(history.uploads());
}
