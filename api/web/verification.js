// Which labels a video carries, and whether this server made it.

import * as api from "./api.js";
import { byId, complain, element, openOnClick, openOnEnter } from "./page.js";
import { t } from "./texts.js";

let found = null;
let asking = null;

export function setUp() {
  const input = byId("verify-file");
  openOnEnter(input);
  openOnClick(byId("verify").querySelector(".dropline"), input);
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
}

export async function take(file) {
  if (!file) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  found = null;
  complain("verify-error", null);
  byId("verify-found").replaceChildren(element("p", { className: "hint", textContent: t("verify.working") }));
  try {
    const body = new FormData();
    body.set("video", file);
    const answer = await api.verify(body, mine.signal);
    if (mine.signal.aborted) return;
    found = { name: file.name, ...answer };
  } catch (error) {
    if (mine.signal.aborted || error.name === "AbortError") return;
    if (error.status === undefined) throw error;
    if (error.status === 413) complain("verify-error", t("verify.large"));
    else complain("verify-error", error.words, null, error.original);
  }
  draw();
}

export function draw() {
  if (!found) return byId("verify-found").replaceChildren();
  const { labels } = found;
  const rows = [
    ["here", found.made_here ? t("verify.here.yes", { when: found.made_at.replace("T", " ") }) : t("verify.here.no")],
    ["aigc", aigc(labels.aigc)],
    ["source", labels.digital_source_type],
    ["visible", labels.visible_label?.text],
    ["c2pa", signature(labels.c2pa)],
  ];
  const lines = rows.map(([name, value]) =>
    element("div", {}, element("dt", { textContent: t(`verify.${name}`) }), element("dd", { textContent: value || t("verify.none") })),
  );
  byId("verify-found").replaceChildren(
    element("p", { className: "name", textContent: found.name }),
    element("dl", {}, ...lines),
    element("p", { className: "hint", textContent: t("verify.caution") }),
  );
}

const aigc = (label) => (typeof label === "object" && label ? Object.values(label).filter(Boolean).join(" · ") : label);

const signature = (c2pa) => c2pa && [t(`verify.state.${c2pa.state}`), c2pa.signer].filter(Boolean).join(" · ");
