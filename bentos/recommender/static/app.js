// The frame: rooms, the way between them, and a key where the service asks for one.
import { Component, render } from "./vendor/preact.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { useKey } from "./api.js";
import { Notice, Select, Status, html, useCall } from "./parts.js";
import { Health, Items, Requests, Shelves, Versions } from "./rooms.js";
import { Try, WhatIf } from "./try.js";
import { LANGUAGES, choose, language, speak, t } from "./words.js";

const ROOMS = [
  ["try", Try], ["what-if", WhatIf], ["requests", Requests], ["items", Items], ["shelves", Shelves], ["versions", Versions],
  ["health", Health],
];
const NEED_ALL = ["shelves", "versions", "health"];

const place = () => {
  const [room, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  let id = rest.join("/");
  try { id = decodeURIComponent(id); } catch { /* as it was typed */ }
  return { room: ROOMS.some(([name]) => name === room) ? room : "try", id };
};

// A room that breaks says so and leaves the others alone.
class Guard extends Component {
  constructor() { super(); this.state = { wrong: null }; }
  static getDerivedStateFromError(wrong) { return { wrong }; }
  componentDidUpdate(before) { if (before.at !== this.props.at && this.state.wrong) this.setState({ wrong: null }); }
  render() {
    return this.state.wrong ? html`<${Notice} bad>${t("room.broken", { why: this.state.wrong.message })}<//>` : this.props.children;
  }
}

function Key({ onGiven, words }) {
  const [given, setGiven] = useState("");
  return html`<main><h1>${t("title")}</h1><p class="lead">${words}</p>
    <form class="ask" onSubmit=${(event) => { event.preventDefault(); useKey(given); onGiven(); }}>
      <div><label for="key">${t("key")}</label><input id="key" type="password" autocomplete="off" value=${given} onInput=${(event) => setGiven(event.target.value)} /></div>
      <div class="row"><button class="main" type="submit">${t("key.use")}</button></div>
    </form></main>`;
}

function App() {
  const [at, setAt] = useState(place());
  const [, setSpoken] = useState(language());
  const [rooms, wrong, busy, look] = useCall("/rooms");
  const title = useRef(null);
  const moved = useRef(false);
  useEffect(() => {
    const onMove = () => { moved.current = true; setAt(place()); };
    addEventListener("hashchange", onMove);
    look({});
    return () => removeEventListener("hashchange", onMove);
  }, []);
  const [, Room] = ROOMS.find(([room]) => room === at.room);
  const name = t(`room.${at.room}`);
  useEffect(() => { document.title = `${name} · ${t("title")}`; }, [name]);
  useEffect(() => {
    document.querySelector("nav [aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
    if (moved.current) { title.current && title.current.focus(); NEED_ALL.includes(at.room) && look({}); }
  }, [at.room]);
  if (wrong && ["unauthorized", "forbidden"].includes(wrong.code)) return html`<${Key} words=${wrong.message} onGiven=${() => look({})} />`;
  const ready = rooms || !NEED_ALL.includes(at.room);
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); title.current.focus(); }}>${t("skip")}</a>
  <div class="frame">
    <header class="side">
      <p class="brand"><img src="/static/icon.svg" alt="" />${t("title")}</p>
      <p class="serving">${rooms ? html`${t("serving")} <span class="id">${rooms.bundle}</span>` : wrong ? t("not.answering") : "…"}</p>
      <nav aria-label=${t("rooms")}><ul>${ROOMS.map(([room]) => html`<li><a href=${`#/${room}`} aria-current=${room === at.room ? "page" : undefined}>${t(`room.${room}`)}</a></li>`)}</ul></nav>
      <div class="speaks"><${Select} label=${t("language")} value=${language()} options=${Object.entries(LANGUAGES)} onPick=${async (wanted) => setSpoken(await choose(wanted))} /></div>
    </header>
    <main id="main">
      <h1 tabindex="-1" ref=${title}>${name}</h1>
      ${(wrong || (busy && !rooms)) && html`<${Status} busy=${busy} wrong=${wrong} />`}
      <${Guard} at=${at.room + at.id}>${ready && html`<${Room} key=${at.room} id=${at.id} rooms=${rooms} go=${(where) => { location.hash = `#/${where}`; }} />`}<//>
    </main>
  </div>`;
}

await speak();
render(html`<${App} />`, document.getElementById("app"));
