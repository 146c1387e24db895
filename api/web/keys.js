// The API key, on servers that ask for one.

import * as api from "./api.js";
import * as kept from "./kept.js";
import { byId, complain, show } from "./page.js";

let onKey = () => {};

export function setUp(changed) {
  onKey = changed;
  const dialog = byId("key-dialog");
  byId("key-button").addEventListener("click", () => ask());
  dialog.addEventListener("close", () => {
    const value = byId("key").value.trim();
    byId("key").value = "";
    if (dialog.returnValue === "forget") {
      api.setKey(null);
      kept.tidy(new Set()); // somebody else may come to this browser
    } else if (dialog.returnValue === "save" && value) api.setKey(value, byId("key-remember").checked);
    else return;
    onKey();
  });
}

export function ask(words = null) {
  const dialog = byId("key-dialog");
  show(byId("key-button"));
  show(byId("key-forget"), api.hasKey());
  complain("key-error", words, byId("key"));
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  byId("key").focus();
}
