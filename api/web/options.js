// The advanced settings, generated from the form in the server's OpenAPI document. Only their texts are defined here.

import { byId, complain, element, show } from "./page.js";
import { currentLanguage, known, t } from "./texts.js";

// Fields that are set elsewhere on the page, or that make no sense on a page.
const ELSEWHERE = new Set(["image", "audio", "emotion", "face_index", "callback_url", "visible_label"]);

let fields = [];
let changed = () => {};

const label = (field) => (known(`option.${field.name}`) ? t(`option.${field.name}`) : field.title);
const help = (field) => (known(`option.${field.name}.help`) && currentLanguage() !== "en" ? t(`option.${field.name}.help`) : field.description);
const whole = (field) => field.type === "integer";
const bounded = (field) => field.minimum !== undefined && field.maximum !== undefined;
const tidy = (number) => String(Math.round(number * 100) / 100);

export function build(form, onChange) {
  changed = onChange;
  fields = form.filter(({ name }) => !ELSEWHERE.has(name));
  byId("option-fields").replaceChildren(...fields.map(fieldset));
  byId("options-reset").onclick = () => {
    fill({});
    byId("options").querySelector("summary").focus();
  };
  relabel();
}

function fieldset(field) {
  const id = `option-${field.name}`;
  const described = `${id}-help ${id}-error`;
  const input = inputOf(field);
  input.id = id;
  input.name = field.name;
  input.setAttribute("aria-describedby", described);
  input.addEventListener("input", () => (check(field), note()));
  const control = element("div", { className: "control" }, input);
  const slider = sliderOf(field, input);
  if (slider) control.prepend(slider);
  return element(
    "div",
    { className: `field field-${field.type}` },
    element("label", { htmlFor: id, id: `${id}-label` }),
    control,
    element("p", { id: `${id}-help`, className: "hint" }),
    element("p", { id: `${id}-error`, className: "error", hidden: true, role: "alert" }),
  );
}

function inputOf(field) {
  if (field.enum) {
    const select = element("select", {}, ...field.enum.map((value) => element("option", { value, textContent: value })));
    select.value = field.default ?? field.enum[0];
    return select;
  }
  if (field.type === "boolean") return element("input", { type: "checkbox", checked: field.default ?? false, className: "switch" });
  if (!bounded(field)) return element("input", { type: "text", value: field.default ?? "" });
  const number = element("input", { type: "number", min: field.minimum, max: field.maximum, value: field.default ?? "" });
  number.step = whole(field) ? 1 : "any";
  number.inputMode = whole(field) ? "numeric" : "decimal";
  return number;
}

// A slider beside a number with a default; without a default, it would have no position.
function sliderOf(field, input) {
  if (!bounded(field) || field.default === undefined || field.default === null) return null;
  const range = field.maximum - field.minimum;
  const step = range > 500 ? 64 : whole(field) ? 1 : 0.1;
  const slider = element("input", { type: "range", min: field.minimum, max: field.maximum, step, value: field.default });
  slider.id = `option-${field.name}-slider`;
  slider.addEventListener("input", () => {
    input.value = tidy(slider.valueAsNumber);
    check(field);
    note();
  });
  input.addEventListener("input", () => (slider.value = input.value));
  return slider;
}

function set(field, value) {
  const input = byId(`option-${field.name}`);
  if (field.type === "boolean") input.checked = String(value) === "true";
  else input.value = value;
  const slider = byId(`option-${field.name}-slider`);
  if (slider) slider.value = value;
  complain(`option-${field.name}-error`, null, input);
}

// `wanted`: by name, as `values` gives them; the others become the recommended ones.
export function fill(wanted) {
  for (const field of fields) set(field, wanted[field.name] ?? field.default ?? "");
  note();
}

function valueOf(field) {
  const input = byId(`option-${field.name}`);
  if (field.type === "boolean") return input.checked ? "true" : "false";
  return input.value.trim();
}

const isDefault = (field) => {
  const value = valueOf(field);
  return value === "" || value === String(field.default ?? "") || (field.type === "number" && Number(value) === field.default);
};

// Only the fields that were changed; the server decides the others.
export function values() {
  return Object.fromEntries(fields.filter((field) => !isDefault(field)).map((field) => [field.name, valueOf(field)]));
}

export const value = (name) => {
  const field = fields.find((one) => one.name === name);
  return field ? valueOf(field) : null;
};

const fits = (field) => !bounded(field) || byId(`option-${field.name}`).validity.valid;

export const allFit = () => fields.every(fits);

function check(field) {
  const input = byId(`option-${field.name}`);
  const wrong = !fits(field);
  complain(`option-${field.name}-error`, wrong ? t("options.range", { low: field.minimum, high: field.maximum }) : null, input);
  return !wrong;
}

// Whether all values are within their bounds. If not, the first invalid one gets the focus.
export function allValid() {
  const wrong = fields.filter((field) => !check(field));
  if (wrong.length) reveal(wrong[0].name);
  return wrong.length === 0;
}

function reveal(name) {
  byId("options").open = true;
  byId(`option-${name}`).focus();
}

// Whether the server's error is about one of these fields.
export function blame({ words, original }, wrong) {
  const field = fields.find(({ name }) => name === wrong);
  if (!field) return false;
  complain(`option-${field.name}-error`, words, byId(`option-${field.name}`), original);
  reveal(field.name);
  return true;
}

function note() {
  const count = Object.keys(values()).length;
  byId("options-changed").textContent = count ? t("options.changed", { count }) : t("options.none");
  show(byId("options-reset"), count > 0);
  changed();
}

export function relabel() {
  for (const field of fields) {
    const id = `option-${field.name}`;
    byId(`${id}-label`).textContent = label(field);
    const range = bounded(field) ? ` (${t("options.range", { low: field.minimum, high: field.maximum })})` : "";
    byId(`${id}-help`).textContent = `${help(field) ?? ""}${range}`;
    byId(`${id}-slider`)?.setAttribute("aria-label", t("options.slider", { name: label(field) }));
    if (known(`option.${field.name}.empty`)) byId(id).placeholder = t(`option.${field.name}.empty`);
  }
  note();
}
