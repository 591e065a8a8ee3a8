// The frame: rooms, the way between them, and a key where the service asks for one.
import { Component, render } from "./vendor/preact.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { useKey } from "./api.js";
import { Notice, Status, html, useCall } from "./parts.js";
import { Health, Items, Requests, Shelves, Versions } from "./rooms.js";
import { Try, WhatIf } from "./try.js";

const ROOMS = [
  ["try", "Try", Try], ["what-if", "What if", WhatIf], ["requests", "Requests", Requests], ["items", "Items", Items],
  ["shelves", "Shelves", Shelves], ["versions", "Versions", Versions], ["health", "Health", Health],
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
    return this.state.wrong ? html`<${Notice} bad>This room cannot be shown: ${this.state.wrong.message}. The others still work.<//>` : this.props.children;
  }
}

function Key({ onGiven, words }) {
  const [given, setGiven] = useState("");
  return html`<main><h1>Recommender</h1><p class="lead">${words}</p>
    <form class="ask" onSubmit=${(event) => { event.preventDefault(); useKey(given); onGiven(); }}>
      <div><label for="key">Key for looking in</label><input id="key" type="password" autocomplete="off" value=${given} onInput=${(event) => setGiven(event.target.value)} /></div>
      <div class="row"><button class="main" type="submit">Look in</button></div>
    </form></main>`;
}

function App() {
  const [at, setAt] = useState(place());
  const [rooms, wrong, busy, look] = useCall("/rooms");
  const title = useRef(null);
  const moved = useRef(false);
  useEffect(() => {
    const onMove = () => { moved.current = true; setAt(place()); };
    addEventListener("hashchange", onMove);
    look({});
    return () => removeEventListener("hashchange", onMove);
  }, []);
  const [, name, Room] = ROOMS.find(([room]) => room === at.room);
  useEffect(() => {
    document.title = `${name} · Recommender`;
    if (moved.current) { title.current && title.current.focus(); NEED_ALL.includes(at.room) && look({}); }
  }, [at.room]);
  if (wrong && ["unauthorized", "forbidden"].includes(wrong.code)) return html`<${Key} words=${wrong.message} onGiven=${() => look({})} />`;
  const ready = rooms || !NEED_ALL.includes(at.room);
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); title.current.focus(); }}>To the room</a>
  <div class="frame">
    <header class="side">
      <p class="brand"><img src="/static/icon.svg" alt="" />Recommender</p>
      <p class="serving">${rooms ? html`serving <span class="id">${rooms.bundle}</span>` : wrong ? "not answering" : "…"}</p>
      <nav aria-label="rooms"><ul>${ROOMS.map(([room, words]) => html`<li><a href=${`#/${room}`} aria-current=${room === at.room ? "page" : undefined}>${words}</a></li>`)}</ul></nav>
    </header>
    <main id="main">
      <h1 tabindex="-1" ref=${title}>${name}</h1>
      ${(wrong || (busy && !rooms)) && html`<${Status} busy=${busy} wrong=${wrong} />`}
      <${Guard} at=${at.room + at.id}>${ready && html`<${Room} key=${at.room} id=${at.id} rooms=${rooms} go=${(where) => { location.hash = `#/${where}`; }} />`}<//>
    </main>
  </div>`;
}

render(html`<${App} />`, document.getElementById("app"));
