// Whether the server is available, and which engine it uses.

import * as api from "./api.js";
import { byId, show } from "./page.js";
import { t } from "./texts.js";

const LOOK_MS = 20_000;
const STARTING_MS = 1500;
let health = null;

export async function watch() {
  health = await api.health().catch(() => null);
  draw();
  setTimeout(watch, health?.model_loaded ? LOOK_MS : STARTING_MS);
}

export function draw() {
  const pill = byId("health");
  show(pill, health !== null);
  if (health) {
    pill.textContent = health.model_loaded ? t("health.engine", { engine: health.engine ?? "–" }) : t("health.loading");
    pill.classList.toggle("ready", health.model_loaded && health.status === "healthy");
  }
  const problem = !health ? t("health.unreachable") : health.status === "healthy" ? "" : `${t("health.unhealthy")} ${health.detail ?? ""}`;
  if (byId("notice").textContent !== problem) byId("notice").textContent = problem;
  show(byId("notice"), Boolean(problem));
}
