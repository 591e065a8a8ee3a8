import { language, t } from "./words.js";

// What the page asks of the service. Whatever goes wrong comes back as a sentence.
let key = sessionStorage.getItem("key") || "";

export class Wrong extends Error {
  constructor(words, code) { super(words); this.code = code; }
}

export const hasKey = () => key !== "";

export function useKey(given) {
  key = given.trim();
  sessionStorage.setItem("key", key);
}

async function ask(path, init) {
  const headers = { ...init.headers, "Accept-Language": language(), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...init, headers });
  } catch {
    throw new Wrong(t("gone"), "gone");
  }
  if (answer.ok) return answer;
  let told = null;
  try { told = (await answer.json()).error; } catch { /* not ours: a proxy's page, say */ }
  const words = told ? told.message : t("answered", { status: answer.status });
  throw new Wrong(sentence(words), told ? told.code : "unknown");
}

export const call = async (path, body) => (await ask(path, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
})).json();

export async function openReport(name) {
  const page = await (await ask(`/reports/${name}`, {})).blob();
  const url = URL.createObjectURL(page);
  window.open(url, "_blank", "noopener");
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

export function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
