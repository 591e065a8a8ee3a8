// Try: what does somebody get, and why. What if: the same before and after events that did not happen.
import { useEffect, useState } from "./vendor/hooks.js";
import { call } from "./api.js";
import { Field, Notice, instant, Search, Select, Status, Table, html, number, said, useCall } from "./parts.js";
import { Behinds, Compared, Slate, Summary } from "./slate.js";

const DAY = 86400000;
const KINDS = ["click", "long_view", "like", "share", "follow", "dislike", "skip", "impression"];
// What was chosen stays chosen while one goes from room to room; it is kept nowhere else.
const chosen = { user_id: "", shelf: "feed", device: "", at: null, bundle: "", other: "", consent: true, taps: [], k: "10", who: {} };
const SAID = [["country", "Country", "as the log's users have it"], ["language", "Language", "de, en-GB"], ["app", "App", ""], ["utc_offset_minutes", "Minutes from UTC", "60"]];
// What somebody made up says of themselves; of a user the service knows it.
const wordsOf = (of) => of.user_id ? {} : Object.fromEntries(Object.entries(of.who).filter(([, value]) => value).map(([name, value]) => [name, name === "utc_offset_minutes" ? Number(value) : value]));

export const body = (of, more = {}) => ({
  user_id: of.user_id || (of.taps.length || Object.keys(wordsOf(of)).length ? "somebody new" : ""), shelf: of.shelf, k: Number(of.k), consent: of.consent,
  context: { ...wordsOf(of), ...(of.device ? { device: of.device } : {}), ...(of.at ? { at: `${of.at}:00Z` } : {}) },
  ...(of.bundle ? { bundle: of.bundle } : {}), ...more,
});
const events = (taps) => taps.map((tap) => ({ kind: tap.kind, item_id: String(tap.id) }));
// The same request again, at the very position and instant of an answer.
export const again = (of, taps = []) => (answer) => ({
  ...body(of), user_id: answer.user_id || of.user_id || "somebody new", context: { ...body(of).context, at: answer.as_of },
  position: answer.history.some((e) => e.imagined) ? undefined : answer.position, bundle: answer.bundle, events: events(taps),
});

// Where the log ended long ago, a slate of now would look back over months of nothing: its own end is offered.
const ends = (rooms) => rooms && rooms.newest_event && Date.now() - rooms.newest_event > DAY ? instant(rooms.newest_event + 60000).replace(" ", "T") : "";

function useChosen(rooms) {
  const [of, set] = useState({ ...chosen });
  useEffect(() => { if (chosen.at === null && rooms) set(Object.assign(chosen, { at: ends(rooms) }) && { ...chosen }); }, [rooms]);
  return [of, (more) => set((before) => Object.assign(chosen, { ...before, ...more }) && { ...chosen })];
}

function Who({ of, set, rooms, more }) {
  const bundles = rooms ? rooms.versions.map((v) => v.bundle).reverse() : [];
  const shelves = rooms ? [...new Set([...rooms.shelves.map((s) => s.name), ...rooms.log_shelves])] : [of.shelf];
  return html`<div class="fields">
    <${Search} label="User" what="users" value=${of.user_id} hint="id, or leave empty for somebody new" onPick=${(row) => set({ user_id: row.id })} />
    <${Select} label="Shelf" value=${of.shelf} onPick=${(shelf) => set({ shelf })} options=${shelves.map((s) => [s, s])} />
    <${Field} label="Device">${(id) => html`<input id=${id} value=${of.device} placeholder="any" onInput=${(e) => set({ device: e.target.value })} />`}<//>
    <${Field} label="Moment (UTC)">${(id) => html`<input id=${id} type="datetime-local" value=${of.at || ""} aria-describedby="moment" onInput=${(e) => set({ at: e.target.value })} />
      <span id="moment" class="soft">${ends(rooms) ? `The log ends ${ends(rooms).replace("T", " ")}; empty is now.` : "Empty is now."}</span>`}<//>
    <${Select} label="Bundle" value=${of.bundle} onPick=${(bundle) => set({ bundle })} options=${[["", "in service"], ...bundles.map((b) => [b, b])]} />
    <${Field} label="Places">${(id) => html`<input id=${id} type="number" min="1" max="100" value=${of.k} onInput=${(e) => set({ k: e.target.value })} />`}<//>
    ${more}
  </div>`;
}

function Taps({ of, set, title }) {
  const [kind, setKind] = useState("click");
  return html`<div class="fields">
    <${Select} label="What happens" value=${kind} onPick=${setKind} options=${KINDS.map((k) => [k, said(k)])} />
    <${Search} label=${title} what="items" hint="title, id, category" onPick=${(row) => set({ taps: [...of.taps, { ...row, kind }] })} />
    ${of.taps.length > 0 && html`<div class="wide"><span class="label">Would happen, in this order</span><ul class="chips">${of.taps.map((tap, i) => html`
      <li class="chip">${said(tap.kind)}: ${tap.title || tap.id}<button type="button" onClick=${() => set({ taps: of.taps.filter((_, j) => j !== i) })}>✕<span class="sr"> take ${tap.title || tap.id} out</span></button></li>`)}</ul></div>`}
  </div>`;
}

export function Try({ rooms }) {
  const [of, set] = useChosen(rooms);
  const [answer, wrong, busy, start] = useCall("/inspect");
  const [other, otherWrong, , startOther] = useCall("/inspect");
  const [asked, setAsked] = useState(null);
  const show = (event) => {
    event && event.preventDefault();
    const taps = of.user_id ? [] : of.taps;
    setAsked({ ...of, taps });
    start(body(of, { events: events(taps) }));
    if (of.other) startOther(body(of, { bundle: of.other, events: events(taps), network: false }));
  };
  useEffect(() => { if (of.user_id) show(); }, []);
  const bundles = rooms ? rooms.versions.map((v) => v.bundle).reverse() : [];
  return html`
    <p class="lead">Choose somebody, and see what they get, who proposed it, and what moved it there.</p>
    <form class="ask" onSubmit=${show}>
      <${Who} ...${{ of, set, rooms }} more=${html`
        <${Select} label="Beside it, bundle" value=${of.other} onPick=${(id) => set({ other: id })} options=${[["", "none"], ...bundles.map((b) => [b, b])]} />
        <div><span class="label">Consent</span><label class="row"><input type="checkbox" checked=${of.consent} onChange=${(e) => set({ consent: e.target.checked })} /> read what is personal</label></div>`} />
      ${!of.user_id && html`<${Taps} of=${of} set=${set} title="Somebody new, who taps on" /><div class="fields">${SAID.map(([name, label, hint]) => html`
        <${Field} label=${label}>${(id) => html`<input id=${id} type=${name === "utc_offset_minutes" ? "number" : "text"} value=${of.who[name] || ""} placeholder=${hint} onInput=${(e) => set({ who: { ...of.who, [name]: e.target.value } })} />`}<//>`)}</div>`}
      <div class="row"><button class="main" type="submit" disabled=${busy}>Show the slate</button></div>
    </form>
    <${Status} busy=${busy} wrong=${wrong} words=${answer && `${answer.items.length} items in ${number(answer.took, 0)} ms.`} />
    ${answer && html`<section aria-label="answer">
      <${Summary} of=${answer} />
      ${asked.other && other && html`<h2>What bundle ${asked.other} would show instead</h2><${Compared} left=${answer} right=${other} titles=${[answer.bundle, asked.other]} />`}
      ${asked.other && otherWrong && html`<${Notice} bad>${otherWrong.message}<//>`}
      <h2>The slate</h2>
      <${Slate} of=${answer} label="slate" ask=${again(asked, asked.taps)} />
      <${Behinds} of=${answer} />
    </section>`}`;
}

export function WhatIf({ rooms }) {
  const [of, set] = useChosen(rooms);
  const [state, setState] = useState({});
  const run = async (event) => {
    event.preventDefault();
    setState({ busy: true });
    try {
      const before = await call("/inspect", body(of, { network: false }));
      const pinned = { ...body(of), user_id: before.user_id || of.user_id, context: { ...body(of).context, at: before.as_of }, position: before.position, bundle: before.bundle };
      const after = await call("/inspect", { ...pinned, network: false, events: events(of.taps) });
      setState({ before, after, of: { ...of } });
    } catch (wrong) { setState({ wrong }); }
  };
  const { before, after } = state;
  return html`
    <p class="lead">Apply events to a copy of somebody's state and see their slate before and after. Nothing is written, and nothing of it is learned from.</p>
    <form class="ask" onSubmit=${run}>
      <${Who} ...${{ of, set, rooms }} />
      <${Taps} of=${of} set=${set} title="On which item" />
      <div class="row"><button class="main" type="submit" disabled=${state.busy || !of.user_id || !of.taps.length}>Show before and after</button>
        ${(!of.user_id || !of.taps.length) && html`<span class="soft">Choose a user and at least one event.</span>`}</div>
    </form>
    <${Status} busy=${state.busy} wrong=${state.wrong} words=${after && "Both slates are of the same instant and log position."} />
    ${after && html`<section aria-label="before and after">
      ${before.words && html`<${Notice}>${before.words}<//>`}
      <h2>What changed</h2><${Compared} left=${before} right=${after} titles=${["before", "after"]} />
      <div class="two">
        <div><h2>Before</h2><${Short} of=${before} label="before" /></div>
        <div><h2>After</h2><${Short} of=${after} label="after" /></div>
      </div>
      <h2>Why, after</h2><${Slate} of=${after} before=${before} label="after, with reasons" ask=${again(state.of, state.of.taps)} />
    </section>`}`;
}

const Short = ({ of, label }) => html`<${Table} label=${label} rows=${of.items} columns=${[
  ["#", (item) => item.place, "n"], ["item", (item) => item.title || item.item_id], ["because", (item) => item.reason], ["score", (item) => number(item.score), "n"],
]} />`;
