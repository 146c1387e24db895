// The address of the task on the stage, #/task/ID: it can be reloaded, copied, and left with Back and Forward.

import { announce, byId } from "./page.js";
import { t } from "./texts.js";

const SHOWN_MS = 2500;
const TASK = /^#\/task\/([0-9a-f-]{36})$/;

// The task that the address names.
export const addressed = () => TASK.exec(location.hash)?.[1] ?? null;

// `push`: whether Back leads to what was there before.
export function name(id, push) {
  if (addressed() === id) return;
  const address = id ? `#/task/${id}` : "#/";
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

// `moved`: called with the task, or null, after Back, Forward or an address that was typed.
export function setUp(moved) {
  addEventListener("popstate", () => {
    if (addressed() || ["", "#/"].includes(location.hash)) moved(addressed()); // others lead to places within the page
  });
  byId("copy-link").addEventListener("click", copy);
}

async function copy() {
  const button = byId("copy-link");
  if (!(await copied(location.href))) return;
  button.textContent = t("link.copied");
  announce(t("link.copied"));
  setTimeout(() => (button.textContent = t("link.copy")), SHOWN_MS);
}

// Browsers hide the clipboard on pages that came over plain http from another machine.
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  byId("copy-link").focus();
  return done;
}
