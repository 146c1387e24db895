// The list of this browser's videos.

import * as api from "./api.js";
import { face } from "./faces.js";
import * as history from "./history.js";
import { announce, byId, complain, element, show } from "./page.js";
import { statusOf } from "./task.js";
import { ago, emotionName, t } from "./texts.js";

const LOOK_MS = 4000;
let onOpen = () => {};
let onRemoved = () => {};
let current = () => null;

export function setUp(opened, removed, shown) {
  [onOpen, onRemoved, current] = [opened, removed, shown];
  setInterval(() => document.visibilityState === "visible" && refresh(running), LOOK_MS);
}

const running = ({ status }) => status === "PENDING" || status === "PROCESSING";

// Updates the tasks that may have changed; the one on the stage is followed there.
export async function refresh(which = ({ status }) => status !== "GONE") {
  for (const entry of history.all().filter((one) => which(one) && one.id !== current())) {
    try {
      const state = await api.status(entry.id);
      history.update(entry.id, { status: statusOf(state), progress: state.progress });
    } catch (error) {
      if (error.status !== 404) return;
      history.update(entry.id, { status: "GONE" });
    }
    draw();
  }
}

export function draw() {
  show(byId("history"), history.all().length > 0);
  const focused = document.activeElement?.closest("#history-list li")?.dataset.id;
  const wasRemove = document.activeElement?.classList.contains("remove");
  byId("history-list").replaceChildren(...history.all().map(item));
  if (focused) byId("history-list").querySelector(`[data-id="${CSS.escape(focused)}"] ${wasRemove ? ".remove" : ".open"}`)?.focus();
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
  open.setAttribute("aria-label", t("history.open", values));
  if (entry.id === current()) open.setAttribute("aria-current", "true");
  open.onclick = () => onOpen(entry);
  const remove = element("button", { type: "button", className: "round ghost remove" });
  remove.setAttribute("aria-label", t("history.remove", values));
  remove.onclick = () => discard(entry);
  const line = element("li", {}, open, remove);
  line.dataset.id = entry.id;
  line.dataset.status = entry.status;
  line.dataset.emotion = entry.emotion;
  return line;
}

async function discard(entry) {
  complain("history-error", null);
  history.remove(entry.id);
  onRemoved(entry); // a removed task gets no more requests
  draw();
  (byId("history-list").querySelector(".open") ?? byId("studio")).focus();
  if (entry.status !== "GONE" && api.offers("synthesis/{task_id}", "delete")) {
    try {
      await api.remove(entry.id);
    } catch (error) {
      if (error.status === undefined) throw error;
      if (error.status !== 404) {
        history.add(entry);
        draw();
        return complain("history-error", t("history.kept", { reason: error.words }));
      }
    }
  }
  announce(t("history.removed"));
}
