// The pieces that every room is made of.
import { h } from "./vendor/preact.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";
import { call, sentence } from "./api.js";
import { decimal, language, t, word } from "./words.js";

export const html = htm.bind(h);

export const number = (value, digits = 3) => value == null ? "–" : value.toFixed(digits).replace(".", decimal());
export const whole = (value) => value == null ? "–" : value.toLocaleString(language() === "en" ? "en-GB" : language());
export const percent = (value) => value == null ? "–" : `${number(100 * value, 1)} %`;
export const instant = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 16);
// A name as the service has it: of a kind, a source, a rung.
export const said = (name) => word(`name.${name}`) ?? name.replaceAll("_", " ");

// A call under way: [answer, words of what went wrong, whether it runs, start]
export function useCall(path) {
  const [state, set] = useState({ answer: null, wrong: null, busy: false });
  const last = useRef(0);
  const start = async (body) => {
    const mine = ++last.current;
    set((before) => ({ ...before, wrong: null, busy: true }));
    const began = performance.now();
    try {
      const answer = await call(path, body);
      if (mine === last.current) set({ answer: { ...answer, took: performance.now() - began }, wrong: null, busy: false });
    } catch (error) {
      if (mine === last.current) set({ answer: null, wrong: error, busy: false });
    }
  };
  return [state.answer, state.wrong, state.busy, start];
}

export const Notice = ({ bad, children }) => html`<div class=${bad ? "notice bad" : "notice"}><p>${children}</p></div>`;

export const Status = ({ busy, wrong, words }) => html`<div role="status" aria-live="polite">
  ${busy && html`<p class="busy">${t("busy")}</p>`}
  ${wrong && html`<${Notice} bad>${sentence(wrong.message)}<//>`}
  ${!busy && !wrong && words && html`<p class="soft">${words}</p>`}
</div>`;

export const Scroll = ({ label, children }) =>
  html`<div class="scroll" role="region" aria-label=${label} tabindex="0">${children}</div>`;

// A real table. `columns`: [title (after ~ for screen readers alone), cell(row, index), "n" for numbers]; `open` gives
// what stands below a row.
export function Table({ label, caption, columns, rows, open, mark, empty }) {
  if (!rows.length) return html`<p class="soft">${empty || t("nothing")}</p>`;
  return html`<${Scroll} label=${label}><table>
    <caption class=${caption ? "" : "sr"}>${caption || label}</caption>
    <thead><tr>${columns.map(([title, , kind]) => html`<th scope="col" class=${kind || ""}>${title.startsWith("~") ? html`<span class="sr">${title.slice(1)}</span>` : title}</th>`)}</tr></thead>
    <tbody>${rows.map((row, index) => [
      html`<tr class=${mark && mark(row) ? "champion" : ""}>${columns.map(([, cell, kind]) => html`<td class=${kind || ""}>${cell(row, index)}</td>`)}</tr>`,
      open && open(row, index) && html`<tr class="inner"><td colspan=${columns.length}>${open(row, index)}</td></tr>`,
    ])}</tbody></table><//>`;
}

// From 0 to the right, or to both sides of the middle where values have signs.
export function Bar({ value, most, signed, words }) {
  const share = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
  const width = signed ? share * 50 : share * 100;
  const x = signed ? (value < 0 ? 50 - width : 50) : 0;
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${words}>
    <rect class="track" width="100" height="10" rx="1" />
    <rect class=${value < 0 ? "against" : "for"} x=${x} width=${width} height="10" />
    ${signed && html`<line class="axis" x1="50" x2="50" y1="0" y2="10" />`}
  </svg>`;
}

export const Moved = ({ by, words }) => by === 0 ? html`<span class="soft">${t("same")}</span>`
  : html`<span class=${by < 0 ? "up" : "down"} title=${words || ""}>${by < 0 ? t("up", { n: -by }) : t("down", { n: by })}</span>`;

export const Item = ({ item }) => html`<div class="item"><a href=${`#/items/${encodeURIComponent(item.item_id)}`}>${item.title || item.item_id}</a>
  ${(item.title || item.category) && html`<br /><span class="id">${item.title ? item.item_id : ""}</span> ${item.category && html`<span class="soft">${item.category}</span>`}`}</div>`;

let fields = 0;
export function Field({ label, children, wide }) {
  const [id] = useState(() => `field-${++fields}`);
  return html`<div class=${wide ? "wide" : ""}><label for=${id}>${label}</label>${children(id)}</div>`;
}

export const Select = ({ label, value, options, onPick }) => html`<${Field} label=${label}>${(id) => html`
  <select id=${id} value=${value} onChange=${(event) => onPick(event.target.value)}>
    ${options.map(([given, words]) => html`<option value=${given} selected=${given === value}>${words}</option>`)}
  </select>`}<//>`;

// Type some letters, choose one of what is found.
export function Search({ label, what, onPick, value, hint }) {
  const [text, setText] = useState(value || "");
  const [found, setFound] = useState(null);
  const [wrong, setWrong] = useState(null);
  const timer = useRef(0);
  const asked = useRef(0);
  const input = useRef(null);
  // what comes back while one types is older than what is typed: it would take letters away
  useEffect(() => { if (document.activeElement !== input.current) setText(value || ""); }, [value]);
  const look = (wanted) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(async () => {
      const mine = ++asked.current;
      try {
        const answer = await call("/find", { what, text: wanted.trim(), limit: 20 });
        if (mine === asked.current) { setFound(answer); setWrong(null); }
      } catch (error) { if (mine === asked.current) setWrong(error); }
    }, 120);
  };
  const pick = (row) => { asked.current++; setFound(null); setText(what === "items" ? "" : row.id); onPick(row); };
  return html`<${Field} label=${label}>${(id) => html`
    <input id=${id} ref=${input} type="search" autocomplete="off" value=${text} placeholder=${hint || ""}
      onFocus=${() => found || look(text)}
      onInput=${(event) => { setText(event.target.value); look(event.target.value); what === "users" && onPick({ id: event.target.value.trim(), typed: true }); }}
      onKeyDown=${(event) => { if (event.key === "Escape") setFound(null); }} />
    ${wrong && html`<${Notice} bad>${wrong.message}<//>`}
    ${found && html`<ul class="found" aria-label=${t(`found.${what}`)}>
      ${found.rows.map((row) => html`<li key=${row.id}><button type="button" onClick=${() => pick(row)}>
        <span>${row.title || row.id}</span><span class="soft">${row.at ? instant(row.at) + " · " : ""}${row.title ? `${row.id} · ` : ""}${row.detail}</span></button></li>`)}
      ${found.words && html`<li class="soft"  >${found.words}</li>`}
    </ul>`}`}<//>`;
}

export const Facts = ({ of }) => html`<dl class="facts">${of.filter(([, value]) => value != null && value !== "").map(
  ([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

// Curves over versions or days: `lines` are [words, values], null where there is none.
export function Curves({ label, names, lines, digits = 3 }) {
  const values = lines.flatMap(([, some]) => some).filter((v) => v != null);
  if (!values.length || names.length < 2) return html`<p class="soft">${t("curve.short")}</p>`;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (i) => 44 + (i * 540) / (names.length - 1);
  const y = (v) => 110 - (high > low ? (v - low) / (high - low) : 0.5) * 95;
  return html`<svg viewBox="0 0 600 132" role="img" aria-label=${label} class="chart">
    <text x="0" y="19">${number(high, digits)}</text><text x="0" y="113">${number(low, digits)}</text>
    ${lines.map(([words, some], line) => html`
      <path class=${line ? "curve two" : "curve"} d=${some.map((v, i) => v == null ? "" : `${i && some[i - 1] != null ? "L" : "M"}${x(i)},${y(v)}`).join("")} />
      ${some.map((v, i) => v != null && html`<circle class=${line ? "dot two" : "dot"} cx=${x(i)} cy=${y(v)} r="3"><title>${words}, ${names[i]}: ${number(v, digits)}</title></circle>`)}`)}
    <text x="44" y="130">${names[0]}</text><text x="584" y="130" text-anchor="end">${names[names.length - 1]}</text>
  </svg><p class="soft">${lines.map(([words], line) => t(line ? "curve.dashed" : "curve.solid", { words })).join(", ")}</p>`;
}
