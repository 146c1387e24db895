// The advanced settings, generated from the form in the server's OpenAPI document. Only their texts are defined here.

import { byId, complain, element, show } from "./page.js";
import { currentLanguage, known, t } from "./texts.js";

// Fields that are set elsewhere on the page, or that make no sense on a page.
const ELSEWHERE = new Set(["image", "audio", "emotion", "face_index", "callback_url", "visible_label", "preset"]);

const HERE = { min_resolution: 512 }; // what the page recommends instead of the server's default
const SENT = new Set(["min_resolution", "crop"]); // always, so that another task of the same files can change them back

let fields = [];
let engines = null; // what the server says of them; null from one that says nothing
let recommended = {};
let presets = {}; // values of some options by the preset's name, from the document
let changed = () => {};

const label = (field) => (known(`option.${field.name}`) ? t(`option.${field.name}`) : field.title);
const help = (field) => (known(`option.${field.name}.help`) && currentLanguage() !== "en" ? t(`option.${field.name}.help`) : field.description);
const whole = (field) => field.type === "integer";
const bounded = (field) => field.minimum !== undefined && field.maximum !== undefined;
const tidy = (number) => String(Math.round(number * 100) / 100);

export function build(form, onChange) {
  changed = onChange;
  fields = form.filter(({ name }) => !ELSEWHERE.has(name));
  recommended = Object.fromEntries(fields.map((field) => [field.name, HERE[field.name] ?? field.default ?? ""]));
  presets = form.find(({ name }) => name === "preset")?.["x-presets"] ?? {};
  byId("preset-choices").replaceChildren(...Object.keys(presets).map(presetButton));
  byId("option-fields").replaceChildren(...fields.map(fieldset));
  byId("options-reset").onclick = () => {
    fill(recommended);
    byId("options").querySelector("summary").focus();
  };
  relabel();
}

// A preset fills in the fields, so that everybody sees what it stands for and can change it.
function presetButton(name) {
  const button = element("button", { type: "button" });
  button.dataset.preset = name;
  button.onclick = () => {
    for (const field of presetFields()) if (speaksOf(name, field)) set(field, presets[name][field.name] ?? "");
    note();
  };
  return button;
}

// All presets speak of the same options. What one leaves open is not in the document.
const presetFields = () => fields.filter((field) => Object.values(presets).some((values) => field.name in values));

// The page has a default of its own for the size, which presets with the server's leave as it is.
const speaksOf = (name, field) => !(field.name in HERE && presets[name][field.name] === field.default);

const chosenPreset = () => Object.keys(presets).find((name) => presetFields().every((field) => !speaksOf(name, field) || holds(field, presets[name][field.name] ?? "")));

function holds(field, wanted) {
  const value = valueOf(field);
  return value === String(wanted) || (value !== "" && wanted !== "" && Number(value) === Number(wanted));
}

function drawPresets() {
  // They are about denoising steps, which not every engine has.
  show(byId("presets"), Object.keys(presets).length > 0 && !presetFields().some(({ name }) => engine()?.ignores.includes(name)));
  const chosen = chosenPreset();
  for (const button of byId("preset-choices").children) {
    const { preset } = button.dataset;
    button.textContent = known(`preset.${preset}`) ? t(`preset.${preset}`) : preset;
    button.setAttribute("aria-pressed", preset === chosen);
  }
  const words = `preset.${chosen ?? "own"}.note`;
  byId("preset-note").textContent = known(words) ? t(words) : "";
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
    { className: `field field-${field.type}`, id: `${id}-field` },
    element("label", { htmlFor: id, id: `${id}-label` }),
    control,
    element("p", { id: `${id}-help`, className: "hint" }),
    element("p", { id: `${id}-error`, className: "error", hidden: true, role: "alert" }),
  );
}

function inputOf(field) {
  if (field.enum) {
    const select = element("select", {}, ...field.enum.map((value) => element("option", { value })));
    select.value = field.default ?? field.enum[0];
    return select;
  }
  if (field.type === "boolean") return element("input", { type: "checkbox", checked: field.default ?? false, className: "switch" });
  if (!bounded(field)) return element("input", { type: "text", value: field.default ?? "" });
  const number = element("input", { type: "number", min: field.minimum, max: field.maximum, value: recommended[field.name] });
  number.step = whole(field) ? 1 : "any";
  number.inputMode = whole(field) ? "numeric" : "decimal";
  return number;
}

// A slider beside a number with a default; without a default, it would have no position.
function sliderOf(field, input) {
  if (!bounded(field) || field.default === undefined || field.default === null) return null;
  const range = field.maximum - field.minimum;
  const step = range > 500 ? 64 : whole(field) ? 1 : 0.1;
  const slider = element("input", { type: "range", min: field.minimum, max: field.maximum, step, value: recommended[field.name] });
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

// `wanted`: by name, as `values` gives them; the others become the server's own.
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

const isRecommended = (field) => valueOf(field) === "" || valueOf(field) === String(recommended[field.name]);

// The engine that will render; nothing is known of it from a server that says nothing.
function engine() {
  const wanted = value("engine");
  const name = !wanted || wanted === "auto" ? engines?.auto : wanted;
  return engines?.engines.find((one) => one.name === name) ?? null;
}

// Whether a field means anything now.
function counts({ name }) {
  if (name === "expand_ratio" && value("crop") === "false") return false;
  return !engine()?.ignores.includes(name);
}

// Only the fields that differ from the server's defaults and mean something; the server decides the others.
export function values() {
  return Object.fromEntries(fields.filter((field) => counts(field) && (SENT.has(field.name) || !isDefault(field))).map((field) => [field.name, valueOf(field)]));
}

export const field = (name) => fields.find((one) => one.name === name) ?? null;

export function put(name, wanted) {
  set(field(name), wanted);
  note();
}

// What the page itself thinks best, which no longer counts as changed.
export function recommend(name, wanted) {
  const before = String(recommended[name]);
  recommended[name] = wanted;
  if (before !== String(wanted) || value(name) !== String(wanted)) put(name, wanted);
}

// Which engines there are, and what each takes notice of.
export async function learnEngines(ask) {
  engines = await ask().catch(() => null);
  relabel();
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
  const count = fields.filter((one) => counts(one) && !isRecommended(one)).length;
  byId("options-changed").textContent = count ? t("options.changed", { count }) : t("options.none");
  show(byId("options-reset"), count > 0);
  for (const one of fields) show(byId(`option-${one.name}-field`), counts(one));
  drawPresets();
  changed();
}

// Words for raw values; an engine that cannot render here is not to be chosen.
function labelChoices(field) {
  for (const choice of byId(`option-${field.name}`).options) {
    const key = `option.${field.name}.${choice.value}`;
    choice.textContent = known(key) ? t(key, { engine: engines?.auto ?? "–" }) : choice.value;
    const found = field.name === "engine" ? engines?.engines.find(({ name }) => name === choice.value) : null;
    choice.disabled = Boolean(found && !found.available);
    if (choice.disabled) choice.textContent = t("engine.missing", { engine: choice.value });
  }
}

// How to get the engines that are not there.
function remedies() {
  const missing = engines?.engines.filter(({ available }) => !available) ?? [];
  return missing.map(({ name, remedy }) =>
    element("span", { className: "remedy" }, t("engine.get", { engine: name }), " ", element("span", { lang: "en", textContent: remedy })),
  );
}

export function relabel() {
  for (const field of fields) {
    const id = `option-${field.name}`;
    byId(`${id}-label`).textContent = label(field);
    const range = bounded(field) ? t("options.bounds", { low: field.minimum, high: field.maximum }) : "";
    byId(`${id}-help`).textContent = `${help(field) ?? ""}${range}`;
    byId(`${id}-slider`)?.setAttribute("aria-label", t("options.slider", { name: label(field) }));
    if (field.enum) labelChoices(field);
    if (field.name === "engine") byId(`${id}-help`).append(...remedies());
    if (known(`option.${field.name}.empty`)) byId(id).placeholder = t(`option.${field.name}.empty`);
  }
  note();
}
