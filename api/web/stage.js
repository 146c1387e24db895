// The stage: the portrait, or a task made of one, and what belongs beside each.

import * as address from "./address.js";
import * as eight from "./eight.js";
import * as history from "./history.js";
import * as kept from "./kept.js";
import { byId, show } from "./page.js";
import { portrait } from "./portrait.js";
import * as samples from "./samples.js";
import * as tasks from "./task.js";
import { task } from "./task.js";
import { t } from "./texts.js";
import * as uploads from "./uploads.js";
import { mine } from "./uploads.js";

let view = "portrait";

// `push`: whether Back leads away from it.
export function openTask(id, play, push = true) {
  tasks.open(id, { url: mine(id) ? portrait.url : null, play });
  address.name(id, push);
  showView("task");
}

// After Back, Forward, or an address that was typed.
export function move(id) {
  if (id && id !== task.id) openTask(id, false, false);
  else showView(id ? "task" : "portrait");
}

export function showView(wanted) {
  view = wanted === "task" && task.id ? "task" : "portrait";
  if (view === "portrait") byId("video").pause();
  draw();
}

export function draw() {
  const onTask = view === "task";
  const has = Boolean(portrait.file);
  show(byId("views"), Boolean(task.id));
  show(byId("portrait-number"), !onTask);
  byId("portrait-heading").textContent = t(onTask ? "view.video" : "portrait.title");
  for (const button of byId("views").children) button.setAttribute("aria-pressed", button.dataset.view === view);
  byId("frame").dataset.view = onTask ? "task" : has ? "picture" : "empty";
  show(byId("empty"), !onTask && !has);
  show(byId("picture"), !onTask && has);
  show(byId("portrait-tools"), !onTask);
  show(byId("portrait-findings"), !onTask);
  show(byId("task-findings"), onTask);
  show(byId("image-remove"), has);
  samples.draw(onTask);
  byId("image-label").textContent = t(has ? "portrait.change" : "portrait.choose");
  byId("image-label").classList.toggle("primary", !has);
  if (onTask) tasks.redraw();
  else for (const id of ["running", "video", "failed", "result"]) show(byId(id), false);
  const status = task.state ? tasks.statusOf(task.state) : null;
  const possible = uploads.canRetry() || mine(task.id);
  show(byId("again"), onTask && possible && (status === "COMPLETED" || status === "CANCELLED"));
  const made = history.find(task.id)?.emotion;
  for (const button of byId("again-faces").children) button.classList.toggle("made", button.dataset.emotion === made);
  show(byId("task-tools"), onTask);
  show(byId("eight-show"), onTask && Boolean(eight.setOf(task.id)));
  offerReuse(onTask);
  if (byId("portrait-error").textContent) show(byId("portrait-error"), !onTask);
}

// Where the files of a task are not those that are chosen, but this browser still has them.
async function offerReuse(onTask) {
  const button = byId("reuse");
  if (!onTask || mine(task.id)) return show(button, false);
  const { id } = task;
  const offered = await kept.has(history.find(id)?.files);
  if (id === task.id) show(button, offered && view === "task" && !mine(id));
}
