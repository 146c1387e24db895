// Words in the language of the page, and how numbers and times are said in it.

import { en } from "./en.js";
import { zhErrors, zhIsBrief, zhValues } from "./zh-errors.js";
import { zh, zhAdvice } from "./zh.js";

export const tables = { en, zh };
const STORED = "dice-talk.language";
const FOLDER = "web/languages/"; // further ones: see docs/translating.md
// `name` is what the language calls itself; `errors` and `values` are those of the server, as in zh-errors.js.
const languages = {
  en: { name: "English", tag: "en", stop: ".", space: " " },
  zh: { name: "中文", tag: "zh-CN", stop: "。", space: "", errors: zhErrors, brief: zhIsBrief, values: zhValues, advice: zhAdvice },
};
let language = pick();

// What was chosen before, else the first that the browser wants and the page has.
function pick() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(STORED);
  } catch {
    // A browser that keeps nothing: its own language counts.
  }
  if (chosen in languages) return chosen;
  const wanted = (navigator.languages ?? [navigator.language]).map((name) => name.toLowerCase());
  const has = (name) => [name, name.split("-")[0]].find((code) => code in languages);
  return has(wanted.find(has) ?? "en");
}

export const currentLanguage = () => language;
export const languageTag = () => languages[language].tag;
export const languageNames = () => Object.entries(languages).map(([code, { name, tag }]) => ({ code, name, tag }));

export function setLanguage(code) {
  language = code;
  try {
    localStorage.setItem(STORED, language);
  } catch {
    // It then lasts until the page is closed.
  }
  document.dispatchEvent(new Event("language"));
}

export const switchLanguage = () => setLanguage(language === "en" ? "zh" : "en");

// Reads the further languages; one that can't be read is left out.
export async function loadLanguages() {
  const read = (name) => fetch(`${FOLDER}${name}.json`).then((answer) => (answer.ok ? answer.json() : Promise.reject()));
  const codes = await read("index").catch(() => []);
  const found = await Promise.allSettled(codes.map(read));
  found.forEach(({ value: file }, i) => {
    if (!file) return;
    const { texts, name = codes[i], stop = ".", space = " ", errors, values, advice } = file;
    tables[codes[i]] = texts;
    languages[codes[i]] = { name, tag: codes[i], stop, space, errors, values, advice };
  });
  language = pick();
}

export const known = (key) => key in tables[language];

export function t(key, values = {}) {
  const text = tables[language][key] || en[key] || key; // what is not translated yet is English
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// An error's words: the server's own, or those of the page's language by its code.
export function fromServer({ code, params, error, detail }) {
  if (languages[language].errors) return translated(code, params) || (error ? translated("unknown") : "");
  const words = sentences(error, detail);
  // A full stop after a command would be copied with it.
  return params?.command && detail?.endsWith(params.command) ? words.slice(0, -1) : words;
}

// The server's own words for an error, if the page's language has none that say as much.
export function original({ code, params, error, detail }) {
  const { errors, brief } = languages[language];
  if (!errors || (translated(code, params) && !brief?.has(code))) return "";
  return joined([error, detail], languages.en);
}

const translated = (code, params) => (languages[language].errors[code] ?? []).map((sentence) => filled(sentence, params ?? {})).filter(Boolean).join(languages[language].space);

// A sentence is left out if one of its values is missing or has no words in the page's language.
function filled(sentence, params) {
  const values = {};
  for (const [, name] of sentence.matchAll(/\{(\w+)\}/g)) {
    values[name] = translatedValue(name, params[name] ?? "");
    if (values[name] === "") return "";
  }
  const text = sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  return text.replace(/([“”\u3000-\u9fff]) (?=[“”\u3000-\u9fff])/g, "$1");
}

function translatedValue(name, value) {
  const { values = {} } = languages[language];
  if (name === "field") return known(`option.${value}`) ? `“${t(`option.${value}`)}”` : (values.field?.[value] ?? value);
  return values[name] ? (values[name][value] ?? "") : value;
}

// Which of the files an error is about: "image", "audio", or none.
export function fileOf({ code, params }) {
  if (/^(image|face)_|^no_(such_)?face$/.test(code)) return "image";
  if (/^audio_/.test(code)) return "audio";
  return ["image", "audio"].includes(params?.field) ? params.field : null;
}

// A failed task has its error among its other fields.
export const errorOf = (state) => ({ code: state.error_code, params: state.error_params, error: state.message, detail: state.detail });

function joined(parts, { stop, space }) {
  return parts
    .filter(Boolean)
    .map((sentence) => (/[.!?。！？…]$/.test(sentence) ? sentence : sentence + stop))
    .join(space);
}

// One after the other; what is empty is left out.
export const sentences = (...parts) => joined(parts, languages[language]);

// Fields by the names that they have on the page.
export function advice({ code, message }) {
  const words = languages[language].advice?.[code] || message;
  return words.replace(/\b([a-z]+_[a-z_]+|crop)(=true)?\b/g, (name, field) => (known(`option.${field}`) ? t("advice.field", { name: t(`option.${field}`) }) : name));
}

export function emotionName(emotion) {
  return known(`emotion.${emotion}`) ? t(`emotion.${emotion}`) : emotion;
}

export function duration(seconds) {
  if (seconds < 90) return t("time.seconds", { n: Math.max(1, Math.round(seconds)) });
  return t("time.minutes", { n: Math.round(seconds / 60) });
}

const NARROW = 2.5; // of the server's forecasts, high over low
const ROUND = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30, 40, 50];

// A forecast in words: one round figure if it is narrow, a rough word if it is wide.
export function durationRange({ low, high }) {
  const middle = Math.sqrt(Math.max(low, 0.5) * Math.max(high, 0.5));
  if (high <= NARROW * low || high < 4) return t("time.about", { time: rounded(middle) });
  if (high < 15) return t("time.few.seconds");
  if (high < 60) return t("time.under.minute");
  if (high < 600) return t("time.few.minutes");
  return t("time.up.to", { time: rounded(high) });
}

function rounded(seconds) {
  const nearest = (number) => ROUND.reduce((best, one) => (Math.abs(one - number) < Math.abs(best - number) ? one : best));
  if (seconds < 55) return t("time.seconds", { n: nearest(seconds) });
  if (seconds < 3300) return t("time.minutes", { n: nearest(seconds / 60) });
  return t("time.hours", { n: Math.round(seconds / 3600) });
}

export function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function ago(time) {
  const minutes = (Date.now() - time) / 60_000;
  if (minutes < 1) return t("when.now");
  const relative = new Intl.RelativeTimeFormat(languageTag(), { style: "short", numeric: "always" });
  if (minutes < 60) return relative.format(-Math.round(minutes), "minute");
  if (minutes < 60 * 24) return relative.format(-Math.round(minutes / 60), "hour");
  return relative.format(-Math.round(minutes / 60 / 24), "day");
}

// Elements say by data-t which text is theirs; data-t-label and the like are for attributes.
export function translate(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  // Nothing can be dropped with a finger.
  if (matchMedia("(pointer: coarse)").matches) {
    for (const element of root.querySelectorAll("[data-t-touch]")) element.textContent = t(element.dataset.tTouch);
  }
  for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}
