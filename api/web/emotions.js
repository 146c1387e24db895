// The choice of the emotion.

import { face } from "./faces.js";
import { byId, element } from "./page.js";
import { emotionName } from "./texts.js";

const FIRST = "happy";
export let emotions = [];

export const emotion = () => document.querySelector('input[name="emotion"]:checked')?.value ?? FIRST;

// `names`: those that the server has.
export function build(names = emotions) {
  const chosen = emotion();
  emotions = names;
  byId("emotions").replaceChildren(
    ...emotions.map((name) => {
      const input = element("input", { type: "radio", name: "emotion", value: name, id: `emotion-${name}`, className: "hidden-input", checked: name === chosen });
      const label = element("label", { htmlFor: input.id }, face(name), element("span", { textContent: emotionName(name) }));
      label.dataset.emotion = name;
      return element("div", { className: "emotion" }, input, label);
    }),
  );
  draw();
}

export function choose(name) {
  const input = byId(`emotion-${name}`);
  if (input) input.checked = true;
  draw();
}

export function draw() {
  document.body.dataset.emotion = emotion();
}
