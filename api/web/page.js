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

// Words beside what caused them. `field` is then marked for screen readers too.
export function complain(id, words, field = null) {
  const place = byId(id);
  place.textContent = words ?? "";
  show(place, Boolean(words));
  if (field) words ? field.setAttribute("aria-invalid", "true") : field.removeAttribute("aria-invalid");
}

// Said once by screen readers. Emptied first: the same words again would not be said.
export function announce(words) {
  const place = byId("announce");
  place.textContent = "";
  setTimeout(() => (place.textContent = words), 50);
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function bringIntoView(target) {
  target.scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "nearest" });
}

// What looks like a button is tried with Enter as well, which browsers leave to the form.
export function openOnEnter(input) {
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    input.click();
  });
}
