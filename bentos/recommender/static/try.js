// Try: what does somebody get, and why. What if: the same before and after events that did not happen.
import { useEffect, useState } from "./vendor/hooks.js";
import { call } from "./api.js";
import { Field, Notice, instant, Search, Select, Status, Table, html, number, said, useCall } from "./parts.js";
import { Behinds, Compared, Slate, Summary } from "./slate.js";
import { t } from "./words.js";

const DAY = 86400000;
const KINDS = ["click", "long_view", "like", "share", "follow", "dislike", "skip", "impression"];
// What was chosen stays chosen while one goes from room to room; it is kept nowhere else.
const chosen = { user_id: "", shelf: "feed", device: "", at: null, bundle: "", other: "", consent: true, taps: [], k: "10", who: {} };
const SAID = [["country", "?"], ["language", "de, en-GB"], ["app", ""], ["utc_offset_minutes", "60"]];
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
  ...body(of), user_id: of.user_id || answer.user_id || "somebody new", context: { ...body(of).context, at: answer.as_of },
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
    <${Search} label=${t("try.user")} what="users" value=${of.user_id} hint=${t("try.user.hint")} onPick=${(row) => set({ user_id: row.id })} />
    <${Select} label=${t("try.shelf")} value=${of.shelf} onPick=${(shelf) => set({ shelf })} options=${shelves.map((s) => [s, s])} />
    <${Field} label=${t("try.device")}>${(id) => html`<input id=${id} value=${of.device} placeholder=${t("try.device.any")} onInput=${(e) => set({ device: e.target.value })} />`}<//>
    <${Field} label=${t("try.moment")}>${(id) => html`<input id=${id} type="datetime-local" value=${of.at || ""} aria-describedby="moment" onInput=${(e) => set({ at: e.target.value })} />
      <span id="moment" class="soft">${ends(rooms) ? t("try.moment.ends", { at: ends(rooms).replace("T", " ") }) : t("try.moment.now")}</span>`}<//>
    <${Select} label=${t("try.bundle")} value=${of.bundle} onPick=${(bundle) => set({ bundle })} options=${[["", t("try.bundle.current")], ...bundles.map((b) => [b, b])]} />
    <${Field} label=${t("try.places")}>${(id) => html`<input id=${id} type="number" min="1" max="100" value=${of.k} onInput=${(e) => set({ k: e.target.value })} />`}<//>
    ${more}
  </div>`;
}

function Taps({ of, set, title }) {
  const [kind, setKind] = useState("click");
  return html`<div class="fields">
    <${Select} label=${t("try.kind")} value=${kind} onPick=${setKind} options=${KINDS.map((k) => [k, said(k)])} />
    <${Search} label=${title} what="items" hint=${t("try.item.hint")} onPick=${(row) => set({ taps: [...of.taps, { ...row, kind }] })} />
    ${of.taps.length > 0 && html`<div class="wide"><span class="label">${t("try.taps.order")}</span><ul class="chips">${of.taps.map((tap, i) => html`
      <li class="chip">${said(tap.kind)}: ${tap.title || tap.id}<button type="button" onClick=${() => set({ taps: of.taps.filter((_, j) => j !== i) })}>✕<span class="sr"> ${t("try.taps.remove", { item: tap.title || tap.id })}</span></button></li>`)}</ul></div>`}
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
    <p class="lead">${t("try.lead")}</p>
    <form class="ask" onSubmit=${show}>
      <${Who} ...${{ of, set, rooms }} more=${html`
        <${Select} label=${t("try.other")} value=${of.other} onPick=${(id) => set({ other: id })} options=${[["", t("none")], ...bundles.map((b) => [b, b])]} />
        <div><span class="label">${t("try.consent")}</span><label class="row"><input type="checkbox" checked=${of.consent} onChange=${(e) => set({ consent: e.target.checked })} /> ${t("try.consent.read")}</label></div>`} />
      ${!of.user_id && html`<${Taps} of=${of} set=${set} title=${t("try.taps")} /><div class="fields">${SAID.map(([name, hint]) => html`
        <${Field} label=${t(`try.${name}`)}>${(id) => html`<input id=${id} type=${name === "utc_offset_minutes" ? "number" : "text"} value=${of.who[name] || ""} placeholder=${hint === "?" ? t("try.country.hint") : hint} onInput=${(e) => set({ who: { ...of.who, [name]: e.target.value } })} />`}<//>`)}</div>`}
      <div class="row"><button class="main" type="submit" disabled=${busy}>${t("try.show")}</button></div>
    </form>
    <${Status} busy=${busy} wrong=${wrong} words=${answer && t("try.took", { n: answer.items.length, ms: number(answer.took, 0) })} />
    ${answer && html`<section aria-label=${t("try.answer")}>
      <${Summary} of=${answer} />
      ${asked.other && other && html`<h2>${t("try.instead", { bundle: asked.other })}</h2><${Compared} left=${answer} right=${other} titles=${[answer.bundle, asked.other]} />`}
      ${asked.other && otherWrong && html`<${Notice} bad>${otherWrong.message}<//>`}
      <h2>${t("try.slate")}</h2>
      <${Slate} of=${answer} label=${t("slate")} ask=${again(asked, asked.taps)} />
      <${Behinds} of=${answer} />
    </section>`}`;
}

export function WhatIf({ rooms }) {
  const [of, set] = useChosen(rooms);
  const [state, setState] = useState({});
  const sandbox = of.user_id.startsWith("sandbox:") ? of.user_id : `sandbox:${of.user_id}`;
  const chosenBoth = of.user_id && of.taps.length > 0;
  const send = async () => {
    setState({ busy: true });
    try {
      const looked = () => call("/inspect", body(of, { user_id: sandbox, network: false }));
      const before = await looked();
      const told = events(of.taps).map((tap, i) => ({
        ...tap, event_id: `page-${Date.now()}-${i}`, user_id: sandbox, shelf: of.shelf, ...(of.at ? { occurred_at: `${of.at}:00Z` } : {}),
      }));
      const { accepted, rejected } = await call("/events", { events: told });
      if (!accepted) throw new Error(t("send.none", { why: rejected.map((one) => one.reason).join("; ") }));
      setState({ before, after: await looked(), sent: accepted, of: { ...of, user_id: sandbox } });
    } catch (wrong) { setState({ wrong }); }
  };
  const run = async (event) => {
    event.preventDefault();
    setState({ busy: true });
    try {
      const before = await call("/inspect", body(of, { network: false }));
      const pinned = { ...body(of), context: { ...body(of).context, at: before.as_of }, position: before.position, bundle: before.bundle };
      const after = await call("/inspect", { ...pinned, network: false, events: events(of.taps) });
      setState({ before, after, of: { ...of } });
    } catch (wrong) { setState({ wrong }); }
  };
  const { before, after } = state;
  return html`
    <p class="lead">${t("whatif.lead")}</p>
    <form class="ask" onSubmit=${run}>
      <${Who} ...${{ of, set, rooms }} />
      <${Taps} of=${of} set=${set} title=${t("whatif.item")} />
      <div class="row"><button class="main" type="submit" disabled=${state.busy || !chosenBoth}>${t("whatif.show")}</button>
        <button type="button" disabled=${state.busy || !chosenBoth || !(rooms && rooms.sandbox)} aria-describedby="send" onClick=${send}>${t("send")}</button></div>
      <p class="soft" id="send">${!chosenBoth && `${t("whatif.choose")} `}${rooms && rooms.sandbox ? t("send.to", { user: sandbox }) : t("send.off")}</p>
    </form>
    <${Status} busy=${state.busy} wrong=${state.wrong} words=${after && (state.sent ? t("send.took", { n: state.sent, user: after.user_id }) : t("whatif.same"))} />
    ${after && html`<section aria-label=${t("whatif.answer")}>
      ${before.words && html`<${Notice}>${before.words}<//>`}
      <h2>${t("whatif.changed")}</h2><${Compared} left=${before} right=${after} titles=${[t("before"), t("after")]} />
      <div class="two">
        <div><h2>${t("Before")}</h2><${Short} of=${before} label=${t("before")} /></div>
        <div><h2>${t("After")}</h2><${Short} of=${after} label=${t("after")} /></div>
      </div>
      <h2>${t("whatif.why")}</h2><${Slate} of=${after} before=${before} label=${t("whatif.reasons")} ask=${again(state.of, state.sent ? [] : state.of.taps)} />
    </section>`}`;
}

const Short = ({ of, label }) => html`<${Table} label=${label} rows=${of.items} columns=${[
  ["#", (item) => item.place, "n"], [t("item"), (item) => item.title || item.item_id], [t("because"), (item) => item.reason], [t("score"), (item) => number(item.score), "n"],
]} />`;
