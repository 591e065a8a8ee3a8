// The page's own words, by language: /static/words/<language>.json. English stands in for what another lacks.
export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español" };
const SEPARATORS = { en: "." }; // of decimals; elsewhere it is a comma
let spoken = "en";
let own = {};
let english = {};

const given = () => navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => LANGUAGES[tag]);
const read = async (name) => (await fetch(`/static/words/${name}.json`)).json();

// Speak a language from now on: the one that is asked for, was chosen before, or that the browser prefers.
export async function speak(wanted = localStorage.getItem("language") || given()) {
  const next = LANGUAGES[wanted] ? wanted : "en";
  if (!english.title) english = await read("en");
  own = next === "en" ? english : await read(next);
  spoken = document.documentElement.lang = next;
  return next;
}

export async function choose(wanted) {
  localStorage.setItem("language", wanted);
  return speak(wanted);
}

export const language = () => spoken;
export const decimal = () => SEPARATORS[spoken] || ",";

// A template, filled; nothing where no language has it.
export function word(key, names = {}) {
  const template = own[key] ?? english[key];
  return template && template.replace(/\{(\w+)\}/g, (_, name) => names[name]);
}

export const t = (key, names) => word(key, names) ?? key;
