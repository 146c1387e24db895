// What every part of the page needs.

export const byId = (id) => document.getElementById(id);

export function show(element, visible = true) {
  element.hidden = !visible;
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Shows what went wrong. `original`: the server's own words in English, if the others say less.
export function say(place, words, original = "") {
  place.textContent = words ?? "";
  if (original) place.append(element("small", { lang: "en", className: "original", textContent: original }));
}

// Shows a message beside the element that caused it, and marks `field` for screen readers too.
export function complain(id, words, field = null, original = "") {
  const place = byId(id);
  say(place, words, original);
  show(place, Boolean(words));
  if (field) words ? field.setAttribute("aria-invalid", "true") : field.removeAttribute("aria-invalid");
}

// Screen readers announce it once. The text is cleared first, because the same text would not be announced again.
export function announce(words) {
  const place = byId("announce");
  place.textContent = "";
  setTimeout(() => (place.textContent = words), 50);
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function bringIntoView(target) {
  target.scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "nearest" });
}

// A click or tap anywhere in `area` opens the chooser of `input`. For the keyboard, the input itself is there.
export function openOnClick(area, input) {
  area.addEventListener("click", (event) => {
    if (!event.target.closest("button, a, label, input")) input.click();
  });
}

// Labels that look like buttons also react to Enter, which browsers leave to the form.
export function openOnEnter(input) {
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    input.click();
  });
}
