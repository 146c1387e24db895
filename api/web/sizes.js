// The size of the video: three choices for the advanced setting of its shorter side.

import * as options from "./options.js";
import { byId, element, show } from "./page.js";
import { t } from "./texts.js";

const FIELD = "min_resolution";
const SIZES = { draft: 256, standard: 512, hd: 1024 };

export function build() {
  const field = options.field(FIELD);
  const sizes = Object.entries(SIZES).filter(([, pixels]) => field && pixels >= field.minimum && pixels <= field.maximum);
  show(byId("size"), sizes.length > 1);
  byId("sizes").replaceChildren(
    ...sizes.flatMap(([name, pixels]) => {
      const input = element("input", { type: "radio", name: "size", value: pixels, id: `size-${name}`, className: "hidden-input" });
      input.addEventListener("change", () => options.put(FIELD, pixels));
      return [input, element("label", { htmlFor: input.id }, element("span", { textContent: t(`size.${name}`) }), element("small", { textContent: t("size.pixels", { pixels }) }))];
    }),
  );
  draw();
}

// None is marked where the setting has another value.
export function draw() {
  for (const input of byId("sizes").querySelectorAll("input")) input.checked = input.value === options.value(FIELD);
}
