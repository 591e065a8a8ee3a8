// A slate and what is behind it: the same pieces in Try, What if and Requests.
import { useState } from "./vendor/hooks.js";
import { call } from "./api.js";
import { Bar, Facts, Item, Moved, Notice, Table, html, instant, number, percent, said, whole } from "./parts.js";
import { t, word } from "./words.js";

const filtered = (filter) => word(`filter.${filter}`) ?? filter;

const sources = (item) => item.sources.map((s) => html`<span class="tag">${said(s.source)} ${s.rank}</span> `);

export function Summary({ of }) {
  return html`
    <${Facts} of=${[
      [t("bundle"), html`<span class="id">${of.bundle}</span>`], [t("ranker"), of.ranker], [t("rung"), said(of.rung)],
      [t("as.of"), instant(of.as_of)], [t("position"), whole(of.position)], [t("candidates"), whole(of.candidates.length)],
      [t("left.out"), whole(of.dropped.length)], [t("events.known"), of.history.length === 128 ? t("events.more") : whole(of.history.length)],
    ]} />
    ${of.words && html`<${Notice} bad=${of.rung !== "full"}>${of.words}<//>`}
    ${of.role === "canary" && html`<${Notice}>${t("role.canary")}<//>`}`;
}

export function Slate({ of, label, ask, before }) {
  const [open, setOpen] = useState(null);
  const top = Math.max(...of.items.map((i) => i.p_long_view ?? i.p_click ?? 0), 0.0001);
  const was = before && new Map(before.items.map((item) => [item.item_id, item.place]));
  const columns = [
    ["#", (item) => item.place, "n"],
    [t("item"), (item) => html`<${Item} item=${item} />`],
    [t("because"), (item) => html`<div class="because">${item.reason || "–"}<br />${sources(item)}</div>`],
    [t("p.long_view"), (item) => html`${percent(item.p_long_view)}<${Bar} value=${item.p_long_view ?? 0} most=${top} words=${`${t("p.long_view")} ${percent(item.p_long_view)}`} />`, "n"],
    [t("p.click"), (item) => percent(item.p_click), "n"],
    [t("watch"), (item) => number(item.expected_watch_seconds, 1), "n"],
    [t("score"), (item) => number(item.score), "n"],
    was ? [t("against.before"), (item) => was.has(item.item_id) ? html`<${Moved} by=${item.place - was.get(item.item_id)} />` : html`<span class="up">${t("new.here")}</span>`]
      : [t("against.score"), (item) => html`<${Moved} by=${item.displacement} words=${item.cause} />${item.cause && html`<br /><span class="soft">${item.cause}</span>`}`],
    [`~${t("more")}`, (item) => html`<button type="button" class="small" aria-expanded=${open === item.item_id} onClick=${() => setOpen(open === item.item_id ? null : item.item_id)}>${t("why")}<span class="sr"> ${item.title || item.item_id}</span></button>`],
  ];
  return html`<${Table} label=${label} columns=${columns} rows=${of.items} empty=${t("slate.empty")}
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
    ${item.out && html`<${Notice}>${t("not.candidate", { why: filtered(item.out) })}<//>`}
    <h3>${t("taste")} <span class="soft">(${t("taste.sum", { sum: number(item.match) })})</span></h3>
    <${Table} label=${t("taste.label")} rows=${item.taste} columns=${[
      [t("item"), (of) => of.item_id == null ? html`<span class="soft">${t("not.here")}</span>` : html`<${Item} item=${of} />`],
      [t("taste.done"), (of) => said(of.told)],
      [t("part"), (of) => number(of.part), "n"],
      [`~${t("bar")}`, (of) => html`<${Bar} value=${of.part} most=${Math.max(...item.taste.map((o) => Math.abs(o.part)), 1e-9)} signed words=${t("log.odds", { value: number(of.part) })} />`],
    ]} />
    <p class="soft">${t("taste.note")}</p>`;
  if (!parts.length) return html`<p>${t(of.rung === "full" ? "parts.none" : "parts.no_ranker")}</p>`;
  return html`
    ${item.out && html`<${Notice}>${t("not.candidate", { why: filtered(item.out) })}<//>`}
    <h3>${t("parts")}${item.base != null && html` <span class="soft">(${number(item.base)} + ${number(item.score - item.base)} = ${number(item.score)})</span>`}</h3>
    <${Table} label=${t("parts.label")} rows=${parts} columns=${[
      [t("parts.group"), (p) => word(`group.${p.group}`) ?? said(p.group)],
      [t("parts.part"), (p) => p.trees == null ? "–" : number(p.trees), "n"],
      [`~${t("bar")}`, (p) => p.trees != null && html`<${Bar} value=${p.trees} most=${most} signed words=${t("of.score", { value: number(p.trees) })} />`],
      ...(byNetwork ? [
        [t("parts.network"), (p) => p.network == null ? "–" : number(p.network), "n"],
        [`~${t("bar")}`, (p) => p.network != null && html`<${Bar} value=${p.network} most=${furthest} signed words=${t("log.odds", { value: number(p.network) })} />`],
      ] : []),
    ]} />
    <p class="soft">${t("parts.note")}${byNetwork && ` ${t("parts.network.note")}`}</p>
    ${features.length > 0 && html`<h3>${t("features")}</h3>
    <${Table} label=${t("features.label")} rows=${shown} columns=${[
      [t("feature"), (f) => html`<code>${f.name}</code><br /><span class="soft">${f.doc}</span>`],
      [t("value"), (f) => f.value == null ? t("not.apply") : html`${number(f.value)}${f.value === f.default ? html`<br /><span class="soft">${t("unknown.value")}</span>` : ""}`, "n"],
      [t("part"), (f) => number(f.part), "n"],
      [`~${t("bar")}`, (f) => html`<${Bar} value=${f.part} most=${largest} signed words=${`${f.name}: ${number(f.part)}`} />`],
      [`~${t("more")}`, (f) => html`<button type="button" class="small" aria-expanded=${!!told[f.name]} onClick=${() => events(f.name)}>${t("events")}<span class="sr"> ${t("events.behind.feature", { feature: f.name })}</span></button>`],
    ]} open=${(f) => told[f.name] && html`<${Behind} of=${told[f.name]} />`} />
    <p><button type="button" class="small" onClick=${() => setAll(!all)}>${all ? t("features.few") : t("features.all", { n: features.length })}</button></p>`}`;
}

function Behind({ of }) {
  if (of.wrong) return html`<${Notice} bad>${of.wrong}<//>`;
  return html`<p><code>${of.definition}</code> = ${number(of.value, 6)}</p>
    ${of.inputs.length === 0 && html`<p class="soft">${t("events.none")}</p>`}
    ${of.inputs.map((input) => html`<h3><code>${input.name}</code> = ${whole(input.value)} <span class="soft">${t("events.from", { n: whole(input.events) })}${input.events > input.last.length ? t("events.newest", { n: input.last.length }) : ""}</span></h3>
      <${Events} label=${t("events.behind", { name: input.name })} rows=${input.last} />`)}`;
}

export const Events = ({ rows, label }) => html`<${Table} label=${label} rows=${rows} empty=${t("events.uncounted")} columns=${[
  [t("when"), (e) => instant(e.occurred_at), "d"],
  [t("what"), (e) => html`${said(e.kind)}${e.imagined ? html` <span class="tag">${t("imagined")}</span>` : ""}`],
  [t("item"), (e) => e.item_id == null ? html`<span class="soft">${t("not.here")}</span>` : html`<${Item} item=${e} />`],
  [t("position"), (e) => e.imagined ? "–" : whole(e.position), "n"],
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
    <details><summary>${t("candidates.all", { n: whole(of.candidates.length) })}</summary>
      <label>${t("candidates.only")} <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
      <${Table} label=${t("candidates.label")} rows=${rows.slice(0, count)} empty=${t("candidates.empty")} columns=${[
        [t("rank"), (c) => c.rank, "n"],
        [t("item"), (c) => html`<${Item} item=${c} />`],
        [t("proposed"), sources],
        [t("score"), (c) => number(c.score), "n"],
        [t("p.long_view"), (c) => percent(c.p_long_view), "n"],
        [t("p.click"), (c) => percent(c.p_click), "n"],
        [t("place"), (c) => c.place ?? html`<span class="soft">${c.cause || t("behind")}</span>`],
      ]} />
      ${rows.length > count && html`<p><button type="button" class="small" onClick=${() => setCount(count + 200)}>${t("candidates.more", { n: whole(rows.length) })}</button></p>`}
    </details>
    <details><summary>${t("dropped.all", { n: whole(of.dropped.length) })}</summary>
      <p class="soft">${t("dropped.note")}</p>
      <${Table} label=${t("left.out")} rows=${of.dropped.slice(0, 300)} empty=${t("dropped.empty")} columns=${[
        [t("item"), (d) => html`<${Item} item=${d} />`],
        [t("dropped.by"), (d) => filtered(d.filter)],
        [t("dropped.sources"), sources],
      ]} />
    </details>
    <details><summary>${t("person", { n: whole(of.history.length) })}</summary>
      <${Facts} of=${Object.entries(of.judged).map(([name, n]) => [t("person.items", { what: said(name) }), whole(n)])} />
      <${Events} label=${t("person.events")} rows=${of.history} />
    </details>
    <details><summary>${t("time", { ms: number(total, 1), n: of.stages.length })}</summary>
      <${Table} label=${t("time.label")} rows=${of.stages} columns=${[
        [t("time.stage"), (s) => said(s.name)], ["ms", (s) => number(s.ms, 2), "n"],
        [`~${t("bar")}`, (s) => html`<${Bar} value=${s.ms} most=${longest} words=${`${s.name} ${number(s.ms, 2)} ms`} />`],
      ]} />
    </details>`;
}

// Two slates, what moved between them.
export function Compared({ left, right, titles }) {
  const places = new Map(left.items.map((item) => [item.item_id, item.place]));
  const kept = right.items.filter((item) => places.has(item.item_id)).length;
  const gone = left.items.filter((item) => !right.items.some((other) => other.item_id === item.item_id));
  return html`<p role="status">${t("both", { kept, n: left.items.length })}${gone.length > 0 && ` ${t("both.gone", { items: gone.map((item) => item.title || item.item_id).join(", ") })}`}</p>
  <${Table} label=${t("against", { one: titles[1], other: titles[0] })} rows=${right.items} columns=${[
    ["#", (item) => item.place, "n"],
    [t("item"), (item) => html`<${Item} item=${item} />`],
    [t("place.in", { where: titles[0] }), (item) => places.get(item.item_id) ?? "–", "n"],
    [t("moved"), (item) => places.has(item.item_id) ? html`<${Moved} by=${item.place - places.get(item.item_id)} />` : html`<span class="up">${t("new.here")}</span>`],
    [t("score.in", { where: titles[1] }), (item) => number(item.score), "n"],
    [t("p.long_view"), (item) => percent(item.p_long_view), "n"],
  ]} />`;
}
