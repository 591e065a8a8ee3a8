// A slate and what is behind it: the same pieces in Try, What if and Requests.
import { useState } from "./vendor/hooks.js";
import { call } from "./api.js";
import { Bar, Facts, Item, Moved, Notice, Table, html, instant, number, percent, said, whole } from "./parts.js";

const GROUPS = {
  user: "the person's activity", item: "the item", category: "its category", creator: "its creator", shelf: "the shelf",
  user_category: "the person and the category", user_creator: "the person and the creator",
  user_item: "the person and this very item", user_shelf: "the person on this shelf", item_shelf: "the item on this shelf",
  category_shelf: "the category on this shelf", moment: "the moment and device", history: "the person's last events",
};
const FILTERS = {
  seen: "judged by this person before", blocked: "blocked by this person", unavailable: "not available now",
  unpublished: "not published at that moment", off_shelf: "of a type that this shelf does not show",
};
const ROLES = { canary: "The challenger on trial answers this user.", shadow: "", champion: "", past: "" };

const sources = (item) => item.sources.map((s) => html`<span class="tag">${said(s.source)} ${s.rank}</span> `);

export function Summary({ of }) {
  return html`
    <${Facts} of=${[
      ["bundle", html`<span class="id">${of.bundle}</span>`], ["ranker", of.ranker], ["rung", said(of.rung)],
      ["as of (UTC)", instant(of.as_of)], ["log position", whole(of.position)], ["candidates", whole(of.candidates.length)],
      ["left out", whole(of.dropped.length)], ["events known", of.history.length === 128 ? "128 or more" : whole(of.history.length)],
    ]} />
    ${of.words && html`<${Notice} bad=${of.rung !== "full"}>${of.words}<//>`}
    ${ROLES[of.role] && html`<${Notice}>${ROLES[of.role]}<//>`}`;
}

export function Slate({ of, label, ask, before }) {
  const [open, setOpen] = useState(null);
  const top = Math.max(...of.items.map((i) => i.p_long_view ?? i.p_click ?? 0), 0.0001);
  const was = before && new Map(before.items.map((item) => [item.item_id, item.place]));
  const columns = [
    ["#", (item) => item.place, "n"],
    ["item", (item) => html`<${Item} item=${item} />`],
    ["because", (item) => html`<div class="because">${item.reason || "–"}<br />${sources(item)}</div>`],
    ["P(long view)", (item) => html`${percent(item.p_long_view)}<${Bar} value=${item.p_long_view ?? 0} most=${top} words=${`P(long view) ${percent(item.p_long_view)}`} />`, "n"],
    ["P(click)", (item) => percent(item.p_click), "n"],
    ["watch s", (item) => number(item.expected_watch_seconds, 1), "n"],
    ["score", (item) => number(item.score), "n"],
    was ? ["against before", (item) => was.has(item.item_id) ? html`<${Moved} by=${item.place - was.get(item.item_id)} />` : html`<span class="up">new here</span>`]
      : ["against its score", (item) => html`<${Moved} by=${item.displacement} words=${item.cause} />${item.cause && html`<br /><span class="soft">${item.cause}</span>`}`],
    ["~more", (item) => html`<button type="button" class="small" aria-expanded=${open === item.item_id} onClick=${() => setOpen(open === item.item_id ? null : item.item_id)}>Why<span class="sr"> ${item.title || item.item_id}</span></button>`],
  ];
  return html`<${Table} label=${label} columns=${columns} rows=${of.items} empty="Nothing can be shown on this shelf."
    open=${(item) => open === item.item_id && html`<${Why} item=${item} of=${of} ask=${ask} />`} />`;
}

// Why one item stands where it stands.
export function Why({ item, of, ask }) {
  const [all, setAll] = useState(false);
  const [told, setTold] = useState({});
  const parts = item.parts.filter((p) => Math.abs(p.trees ?? 0) > 0 || Math.abs(p.network ?? 0) > 0)
    .sort((a, b) => Math.abs(b.trees ?? b.network) - Math.abs(a.trees ?? a.network));
  const most = Math.max(...parts.map((p) => Math.abs(p.trees ?? 0)), 1e-9);
  const furthest = Math.max(...parts.map((p) => Math.abs(p.network ?? 0)), 1e-9);
  const byNetwork = parts.some((p) => p.network != null);
  const features = item.contributions.map((value, i) => ({ ...of.features[i], part: value, value: item.values[i] }))
    .sort((a, b) => Math.abs(b.part) - Math.abs(a.part));
  const shown = all ? features : features.slice(0, 8);
  const largest = Math.max(...features.map((f) => Math.abs(f.part)), 1e-9);
  const events = async (name) => {
    if (told[name]) return setTold({ ...told, [name]: null });
    try {
      const answer = await call("/inspect", { ...ask(of), network: false, k: 1, evidence: [{ item_id: String(item.item_id), feature: name }] });
      setTold({ ...told, [name]: answer.evidence[0] });
    } catch (error) { setTold({ ...told, [name]: { wrong: error.message } }); }
  };
  if (item.taste.length) return html`
    ${item.out && html`<${Notice}>Not a candidate: ${FILTERS[item.out] || item.out}.<//>`}
    <h3>What of the history moved it <span class="soft">(${number(item.match)} log odds of a click in all)</span></h3>
    <${Table} label="parts of the taste by item of the history" rows=${item.taste} columns=${[
      ["item", (t) => t.item_id == null ? html`<span class="soft">not in this bundle</span>` : html`<${Item} item=${t} />`],
      ["what was done", (t) => t.told],
      ["part", (t) => number(t.part), "n"],
      ["~as a bar", (t) => html`<${Bar} value=${t.part} most=${Math.max(...item.taste.map((o) => Math.abs(o.part)), 1e-9)} signed words=${`${number(t.part)} log odds`} />`],
    ]} />
    <p class="soft">The parts are exact: those of the whole history add up. What was passed over counts too.</p>`;
  if (!parts.length) return html`<p>${of.rung === "full" ? "What orders this bundle's slates is not the trees, and tells no parts by feature." : "Without the ranker there are no parts to tell."}</p>`;
  return html`
    ${item.out && html`<${Notice}>Not a candidate: ${FILTERS[item.out] || item.out}.<//>`}
    <h3>What moved its score${item.base != null && html` <span class="soft">(${number(item.base)} + ${number(item.score - item.base)} = ${number(item.score)})</span>`}</h3>
    <${Table} label="parts of the score by group of features" rows=${parts} columns=${[
      ["group of features", (p) => GROUPS[p.group] || said(p.group)],
      ["part of the score", (p) => p.trees == null ? "–" : number(p.trees), "n"],
      ["~as a bar", (p) => p.trees != null && html`<${Bar} value=${p.trees} most=${most} signed words=${`${number(p.trees)} of the score`} />`],
      ...(byNetwork ? [
        ["network: against its median", (p) => p.network == null ? "–" : number(p.network), "n"],
        ["~as a bar", (p) => p.network != null && html`<${Bar} value=${p.network} most=${furthest} signed words=${`${number(p.network)} log odds`} />`],
      ] : []),
    ]} />
    <p class="soft">Parts of the score are exact Shapley values of the trees and add up to it.${byNetwork && " The network's column is the change of its log odds when that group alone is set to its training median: an estimate, which does not add up."}</p>
    ${features.length > 0 && html`<h3>Features</h3>
    <${Table} label="features with their values and parts" rows=${shown} columns=${[
      ["feature", (f) => html`<code>${f.name}</code><br /><span class="soft">${f.doc}</span>`],
      ["value", (f) => f.value == null ? "does not apply" : html`${number(f.value)}${f.value === f.default ? html`<br /><span class="soft">nothing known</span>` : ""}`, "n"],
      ["part", (f) => number(f.part), "n"],
      ["~as a bar", (f) => html`<${Bar} value=${f.part} most=${largest} signed words=${`${f.name}: ${number(f.part)}`} />`],
      ["~more", (f) => html`<button type="button" class="small" aria-expanded=${!!told[f.name]} onClick=${() => events(f.name)}>Events<span class="sr"> behind ${f.name}</span></button>`],
    ]} open=${(f) => told[f.name] && html`<${Behind} of=${told[f.name]} />`} />
    <p><button type="button" class="small" onClick=${() => setAll(!all)}>${all ? "Only the largest" : `All ${features.length} features`}</button></p>`}`;
}

function Behind({ of }) {
  if (of.wrong) return html`<${Notice} bad>${of.wrong}<//>`;
  return html`<p><code>${of.definition}</code> = ${number(of.value, 6)}</p>
    ${of.inputs.length === 0 && html`<p class="soft">It comes from the request or the item's attributes: no event is behind it.</p>`}
    ${of.inputs.map((input) => html`<h3><code>${input.name}</code> = ${whole(input.value)} <span class="soft">from ${whole(input.events)} events${input.events > input.last.length ? `, the newest ${input.last.length}` : ""}</span></h3>
      <${Events} label=${`events behind ${input.name}`} rows=${input.last} />`)}`;
}

export const Events = ({ rows, label }) => html`<${Table} label=${label} rows=${rows} empty="No event is counted here." columns=${[
  ["when (UTC)", (e) => instant(e.occurred_at), "d"],
  ["what", (e) => html`${said(e.kind)}${e.imagined ? html` <span class="tag">what if</span>` : ""}`],
  ["item", (e) => e.item_id == null ? html`<span class="soft">not in this bundle</span>` : html`<${Item} item=${e} />`],
  ["log position", (e) => e.imagined ? "–" : whole(e.position), "n"],
]} />`;

// All that is behind a slate, folded away.
export function Behinds({ of }) {
  const [text, setText] = useState("");
  const [count, setCount] = useState(50);
  const wanted = text.trim().toLowerCase();
  const hit = (item) => !wanted || `${item.title} ${item.item_id} ${item.sources.map((s) => s.source)}`.toLowerCase().includes(wanted);
  const rows = of.candidates.filter(hit);
  const total = of.stages.reduce((sum, stage) => sum + stage.ms, 0);
  const longest = Math.max(...of.stages.map((s) => s.ms), 0.001);
  return html`
    <details><summary>${whole(of.candidates.length)} candidates and their sources</summary>
      <label>Only those that hold <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
      <${Table} label="candidates by score" rows=${rows.slice(0, count)} empty="No candidate holds this." columns=${[
        ["rank", (c) => c.rank, "n"],
        ["item", (c) => html`<${Item} item=${c} />`],
        ["proposed by, with rank", sources],
        ["score", (c) => number(c.score), "n"],
        ["P(long view)", (c) => percent(c.p_long_view), "n"],
        ["P(click)", (c) => percent(c.p_click), "n"],
        ["place", (c) => c.place ?? html`<span class="soft">${c.cause || "behind"}</span>`],
      ]} />
      ${rows.length > count && html`<p><button type="button" class="small" onClick=${() => setCount(count + 200)}>More of ${whole(rows.length)}</button></p>`}
    </details>
    <details><summary>${whole(of.dropped.length)} left out</summary>
      <p class="soft">What the sources would have proposed, and the first filter that keeps it out.</p>
      <${Table} label="left out" rows=${of.dropped.slice(0, 300)} empty="Nothing was left out." columns=${[
        ["item", (d) => html`<${Item} item=${d} />`],
        ["kept out by", (d) => FILTERS[d.filter] || said(d.filter)],
        ["would be proposed by", sources],
      ]} />
    </details>
    <details><summary>The person: ${whole(of.history.length)} last events</summary>
      <${Facts} of=${Object.entries(of.judged).map(([name, n]) => [`${said(name)} items`, whole(n)])} />
      <${Events} label="last events" rows=${of.history} />
    </details>
    <details><summary>Time: ${number(total, 1)} ms in ${of.stages.length} stages</summary>
      <${Table} label="time by stage" rows=${of.stages} columns=${[
        ["stage", (s) => said(s.name)], ["ms", (s) => number(s.ms, 2), "n"],
        ["~as a bar", (s) => html`<${Bar} value=${s.ms} most=${longest} words=${`${s.name} ${number(s.ms, 2)} ms`} />`],
      ]} />
    </details>`;
}

// Two slates, what moved between them.
export function Compared({ left, right, titles }) {
  const places = new Map(left.items.map((item) => [item.item_id, item.place]));
  const kept = right.items.filter((item) => places.has(item.item_id)).length;
  const gone = left.items.filter((item) => !right.items.some((other) => other.item_id === item.item_id));
  return html`<p role="status">${kept} of ${left.items.length} items are in both.${gone.length > 0 && ` Gone: ${gone.map((item) => item.title || item.item_id).join(", ")}.`}</p>
  <${Table} label=${`${titles[1]} against ${titles[0]}`} rows=${right.items} columns=${[
    ["#", (item) => item.place, "n"],
    ["item", (item) => html`<${Item} item=${item} />`],
    [`place in ${titles[0]}`, (item) => places.get(item.item_id) ?? "–", "n"],
    ["moved", (item) => places.has(item.item_id) ? html`<${Moved} by=${item.place - places.get(item.item_id)} />` : html`<span class="up">new here</span>`],
    [`score in ${titles[1]}`, (item) => number(item.score), "n"],
    ["P(long view)", (item) => percent(item.p_long_view), "n"],
  ]} />`;
}
