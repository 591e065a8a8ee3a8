// Requests, Items, Shelves, Versions, Health.
import { useEffect, useState } from "./vendor/hooks.js";
import { hasKey, openReport } from "./api.js";
import { Bar, Curves, Facts, Item, Notice, Search, Select, Status, Table, html, instant, number, percent, said, useCall, whole } from "./parts.js";
import { Behinds, Compared, Slate, Summary } from "./slate.js";
import { t, word } from "./words.js";

export function Requests({ id, rooms, go }) {
  const [bundle, setBundle] = useState("");
  const [typed, setTyped] = useState("");
  const [answer, wrong, busy, start] = useCall("/inspect");
  const [other, otherWrong, , startOther] = useCall("/inspect");
  const [list, listWrong, , find] = useCall("/find");
  useEffect(() => { setBundle(""); if (id) start({ request_id: id }); else find({ what: "requests", text: "", limit: 30 }); }, [id]);
  useEffect(() => { if (bundle) startOther({ request_id: id, bundle, network: false }); }, [bundle]);
  const open = (event) => { event.preventDefault(); if (typed.trim()) go(`requests/${encodeURIComponent(typed.trim())}`); };
  const past = answer && answer.past;
  const bundles = rooms ? rooms.versions.map((v) => v.bundle).filter((b) => past && b !== past.bundle).reverse() : [];
  const computed = answer && answer.items.length > 0;
  return html`
    <p class="lead">${t("requests.lead")}</p>
    <form class="ask" onSubmit=${open}><div class="fields">
      <div><label for="request">${t("requests.id")}</label><input id="request" value=${typed} onInput=${(e) => setTyped(e.target.value)} /></div>
      <${Search} label=${t("requests.search")} what="requests" hint=${t("requests.hint")} onPick=${(row) => go(`requests/${row.id}`)} />
    </div><div class="row"><button class="main" type="submit">${t("open")}</button>${id && html`<a href="#/requests">${t("requests.back")}</a>`}</div></form>
    ${!id && html`<${Status} wrong=${listWrong} /><h2>${t("requests.latest")}</h2><${Table} label=${t("requests.label")} rows=${list ? list.rows : []} empty=${list ? t("served.none") : "…"} columns=${[
      [t("when"), (r) => instant(r.at), "d"], [t("user"), (r) => r.title], [t("what"), (r) => r.detail],
      [t("request"), (r) => html`<a href=${`#/requests/${r.id}`} class="id">${r.id}</a>`],
    ]} />`}
    ${id && html`<${Status} busy=${busy} wrong=${wrong} words=${answer && t("requests.took", { ms: number(answer.took, 0) })} />`}
    ${id && past && html`<section aria-label=${t("request")}>
      <h2>${t("requests.one")} <span class="id">${past.request_id}</span></h2>
      <p><span class=${`tag ${past.same === true ? "good" : past.same === false ? "bad" : ""}`}>${t(past.same === true ? "requests.same" : past.same === false ? "requests.differs" : "requests.uncompared")}</span> ${past.words}</p>
      <${Facts} of=${[[t("user"), answer.user_id || t("no.consent")], [t("served.at"), instant(past.served_at)], [t("shelf"), answer.shelf], [t("device"), answer.device || t("unknown")], [t("rung"), said(past.rung)], [t("bundle"), html`<span class="id">${past.bundle}</span>`]]} />
      <h2>${t("requests.served")}</h2>
      <${Table} label=${t("requests.served.label")} rows=${past.logged} columns=${[
        ["#", (_, i) => i + 1, "n"], [t("item"), (l) => html`<${Item} item=${l} />`], [t("source"), (l) => said(l.source)],
        [t("score"), (l) => number(l.score, 6), "n"], [t("p.click"), (l) => number(l.p_click, 6), "n"], [t("watch"), (l) => number(l.expected_watch_seconds, 2), "n"],
        ...(computed ? [[t("requests.again"), (l, i) => answer.items[i] && answer.items[i].item_id === l.item_id && answer.items[i].score === l.score ? html`<span class="tag good">${t("same")}</span>` : html`<span class="tag bad">${answer.items[i] ? answer.items[i].title || answer.items[i].item_id : t("no.item")}</span>`]] : []),
      ]} />
      ${computed && html`
        ${bundles.length > 0 && html`<h2>${t("requests.other")}</h2><div class="fields"><${Select} label=${t("bundle.label")} value=${bundle} onPick=${setBundle} options=${[["", t("choose.one")], ...bundles.map((b) => [b, b])]} /></div>
          ${otherWrong && html`<${Notice} bad>${otherWrong.message}<//>`}
          ${bundle && other && html`<${Compared} left=${answer} right=${other} titles=${[t("then"), bundle]} />`}`}
        <h2>${t("why")}</h2><${Summary} of=${answer} />
        <${Slate} of=${answer} label=${t("requests.computed")} ask=${(of) => ({ request_id: of.past.request_id })} />
        <${Behinds} of=${answer} />`}
    </section>`}`;
}

export function Items({ id, go }) {
  const [answer, wrong, busy, start] = useCall("/item");
  useEffect(() => { if (id) start({ item_id: id }); }, [id]);
  const most = answer ? Math.max(...answer.days.map((d) => d.counts.impression), 1) : 1;
  const nearest = answer && answer.neighbours.length ? answer.neighbours[0].similarity : 1;
  return html`
    <p class="lead">${t("items.lead")}</p>
    <form class="ask" onSubmit=${(event) => event.preventDefault()}><div class="fields"><${Search} label=${t("items.item")} what="items" hint=${t("items.hint")} onPick=${(row) => go(`items/${encodeURIComponent(row.id)}`)} /></div></form>
    ${id && html`<${Status} busy=${busy} wrong=${wrong} />`}
    ${id && answer && html`<section aria-label=${t("item")}>
      <h2>${answer.title || answer.item_id} ${!answer.is_available && html`<span class="tag bad">${t("items.unavailable")}</span>`}</h2>
      <${Facts} of=${[[t("items.id"), html`<span class="id">${answer.item_id}</span>`], [t("items.type"), answer.item_type], [t("category"), answer.category], [t("creator"), answer.creator_id], [t("items.length"), answer.duration_ms ? `${Math.round(answer.duration_ms / 1000)} s` : t("unknown")], [t("items.published"), answer.published_at ? instant(answer.published_at) : t("unknown")]]} />
      <h2>${t("items.ever")}</h2><${Facts} of=${Object.entries(answer.ever).map(([name, n]) => [word(`many.${name}`) ?? said(name), whole(n)])} />
      <h2>${t("items.days")}</h2>
      <${Table} label=${t("items.days.label")} rows=${answer.days.filter((d) => Object.values(d.counts).some((n) => n)).reverse()} empty=${t("items.days.empty")} columns=${[
        [t("day.utc"), (d) => d.day, "d"], [t("many.impression"), (d) => whole(d.counts.impression), "n"],
        [`~${t("bar")}`, (d) => html`<${Bar} value=${d.counts.impression} most=${most} words=${t("items.shown", { n: d.counts.impression })} />`],
        [t("many.click"), (d) => whole(d.counts.click), "n"], [t("many.long_view"), (d) => whole(d.counts.long_view), "n"], [t("many.like"), (d) => whole(d.counts.like), "n"], [t("many.skip"), (d) => whole(d.counts.skip), "n"],
      ]} />
      <h2>${t("items.shelves")}</h2>
      <${Table} label=${t("items.shelves.label")} rows=${answer.shelves} columns=${[
        [t("items.shelf"), (s) => s.shelf], [t("many.impression"), (s) => whole(s.counts.impression), "n"], [t("many.click"), (s) => whole(s.counts.click), "n"],
        [t("items.trending"), (s) => s.trending ?? "–", "n"], [t("items.popular"), (s) => s.popular ?? "–", "n"],
        [t("items.explore"), (s) => s.exploring ?? "–", "n"],
      ]} /><p class="soft">${t("items.explore.note")}</p>
      <h2>${t("items.neighbours")}</h2><p class="soft">${t("items.neighbours.note")}</p>
      <${Table} label=${t("items.neighbours.label")} rows=${answer.neighbours} empty=${t("items.neighbours.empty")} columns=${[
        [t("item"), (n) => html`<${Item} item=${n} />`], [t("likeness"), (n) => number(n.similarity), "n"], [`~${t("bar")}`, (n) => html`<${Bar} value=${n.similarity} most=${nearest} words=${`${t("likeness")} ${number(n.similarity)}`} />`],
      ]} />
    </section>`}`;
}

export function Shelves({ rooms }) {
  const report = rooms.evaluation;
  return html`
    <p class="lead">${t("shelves.lead")}</p>
    <h2>${t("shelves.rules")}</h2>
    <${Table} label=${t("shelves.rules.label")} rows=${rooms.shelves} columns=${[
      [t("shelf"), (s) => s.name], [t("shelves.shows"), (s) => s.item_types.join(", ")], [t("shelves.place"), (s) => t(`unit.${s.unit}`)],
      [t("shelves.from"), (s) => Object.entries(s.sources).map(([name, places]) => places ? `${said(name)} (${t("shelves.sure", { n: places })})` : said(name)).join(", ")],
      [t("shelves.ordered"), (s) => said(s.order)], [t("shelves.success"), (s) => said(s.label)],
      [t("shelves.caps"), (s) => Object.entries(s.caps).map(([name, share]) => t("shelves.cap", { share: Math.round(100 * share), what: said(name) })).join(", ")],
      [t("shelves.out"), (s) => Object.entries(s.left_out).map(([why, days]) => t(days == null ? "shelves.good" : "shelves.days", { what: said(why), n: days })).join(", ")],
      [t("shelves.log"), (s) => s.in_log ? t("yes") : t("shelves.as", { shelf: rooms.log_shelves[0] || t("unknown") })],
    ]} />
    ${rooms.shelves.filter((s) => s.judged).map((s) => html`<h2>${s.name}: ${t(s.judged.passed ? "gate.passed" : "gate.refused")}</h2><p class="soft">${s.judged.reasons.join("; ")}</p>
      <${Figures} rows=${s.judged.orders} metrics=${Object.keys(s.judged.orders[0].figures)} main=${s.judged.metric} label=${t("shelves.beside", { shelf: s.name })}
        note=${t("shelves.note", { n: whole(s.judged.rows), metric: s.judged.metric })} />`)}
    ${!report && html`<${Notice}>${t("evaluation.none")}<//>`}
    ${report && report.labels.map((label) => html`<h2>${t("ranking", { label: said(label) })}</h2><${Figures} rows=${report.models[label]} metrics=${["auc", "gauc", "log_loss", "ndcg@5", "ndcg@10"]} main="ndcg@5" label=${t("ranking.label", { label: said(label) })}
      note=${t("ranking.note", { first: report.test[0], last: report.test[report.test.length - 1], n: whole(report.impressions) })} />`)}
    ${report && report.sources.length > 0 && html`<h2>${t("sources")}</h2><${Figures} rows=${report.sources} metrics=${["recall@50", "recall@200", "ndcg@50"]} main="recall@50" label=${t("sources.label")} note=${t("sources.note")} />`}
    ${report && report.users_by_events.length > 0 && html`<h2>${t("cold.people")}</h2><${Cold} groups=${report.users_by_events} metric="recall@50" first=${t("cold.events")} label=${t("cold.people.label")} curves />
      <h2>${t("cold.items")}</h2><${Cold} groups=${report.items_by_age} metric="recall@200" first=${t("cold.age")} label=${t("cold.items.label")} />`}
    ${report && report.new_categories.length > 0 && html`<h2>${t("cold.categories")}</h2><${Cold} groups=${report.new_categories} metric="recall@200" first=${t("category")} label=${t("cold.categories.label")} />`}`;
}

// How well each way finds what people of a group engaged with next.
function Cold({ groups, metric, first, label, curves }) {
  const ways = [...new Set(groups.flatMap((g) => Object.keys(g.figures)))];
  return html`${curves && html`<${Curves} label=${t("by", { what: metric, by: first })} names=${groups.map((g) => g.name)} lines=${["champion", "popular"].map((way) => [way, groups.map((g) => g.figures[way] && g.figures[way][metric])])} />`}
    <${Table} label=${label} rows=${groups} columns=${[[first, (g) => said(g.name)], [t("cold.rows"), (g) => whole(g.rows), "n"], ...ways.map((way) => [said(way), (g) => number(g.figures[way] && g.figures[way][metric]), "n"])]} /><p class="soft">${t("cold.note", { metric })}</p>`;
}

function Figures({ rows, metrics, main, label, note }) {
  // of the champion itself there is no difference to show
  const spanOf = (row) => row.name === "champion" ? null : row.intervals[main];
  const spans = rows.map(spanOf).filter(Boolean);
  const [low, high] = [Math.min(0, ...spans.map((s) => s[0])), Math.max(0, ...spans.map((s) => s[s.length > 2 ? 2 : 1]))];
  const x = (v) => 2 + (96 * (v - low)) / Math.max(high - low, 1e-9);
  return html`<${Table} label=${label} rows=${rows} mark=${(row) => row.name === "champion" || row.name === "fused"} columns=${[
    [t("name"), (row) => said(row.name)],
    ...metrics.map((metric) => [metric, (row) => number(row.figures[metric]), "n"]),
    [t("interval.of", { metric: main }), (row) => { const span = spanOf(row); return span ? html`<span class="soft">${t("to", { low: number(span[0]), high: number(span[span.length - 1]) })}</span>
      <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${t("to", { low: number(span[0]), high: number(span[span.length - 1]) })}><line class="axis" x1=${x(0)} x2=${x(0)} y1="0" y2="10" /><line class="span" x1=${x(span[0])} x2=${Math.max(x(span[span.length - 1]), x(span[0]) + 1)} y1="5" y2="5" /></svg>` : ""; }],
  ]} /><p class="soft">${note}</p>`;
}

function Diff({ bundles }) {
  const [pair, set] = useState({ bundle: bundles[0] || "", other: bundles[1] || "" });
  const [answer, wrong, busy, start] = useCall("/diff");
  const show = (event) => { event.preventDefault(); start({ ...pair, latest: 30 }); };
  const both = (values, digits) => values.map((v) => number(v, digits)).join(" → ");
  if (bundles.length < 2) return html`<p class="soft">${t("diff.one")}</p>`;
  return html`<form class="ask" onSubmit=${show}><div class="fields">
      <${Select} label=${t("bundle.label")} value=${pair.bundle} onPick=${(bundle) => set({ ...pair, bundle })} options=${bundles.map((b) => [b, b])} />
      <${Select} label=${t("diff.other")} value=${pair.other} onPick=${(other) => set({ ...pair, other })} options=${bundles.map((b) => [b, b])} />
    </div><div class="row"><button class="main" type="submit" disabled=${busy}>${t("diff.show")}</button></div></form>
    <${Status} busy=${busy} wrong=${wrong} words=${answer && (answer.words || (answer.left_out ? t("diff.left", { n: answer.left_out }) : t("diff.unwritten")))} />
    ${answer && answer.cohorts.length > 0 && html`<${Table} label=${t("diff.label")} rows=${answer.cohorts} columns=${[
      [t("diff.cohort"), (c) => c.cohort], [t("diff.requests"), (c) => whole(c.requests), "n"], [t("diff.same"), (c) => percent(c.same), "n"],
      [t("diff.kept"), (c) => percent(c.kept), "n"], [t("diff.moved"), (c) => number(c.moved, 1), "n"],
      [t("p.click"), (c) => both(c.p_click, 3), "n"], [t("p.long_view"), (c) => both(c.p_long_view, 3), "n"], ["ms", (c) => both(c.ms, 1), "n"],
    ]} />`}`;
}

export function Versions({ rooms }) {
  const all = rooms.versions;
  const names = all.map((v) => v.registered_at.slice(0, 10));
  return html`
    <p class="lead">${t("versions.lead")}</p>
    ${rooms.refused && html`<${Notice} bad>${t("health.refused", { why: rooms.refused })}<//>`}
    ${rooms.trials.filter((trial) => trial.state === "running").map((trial) => html`<${Notice}>${t("trial.runs", { name: trial.name, bundle: trial.bundle, share: number(100 * trial.share, 1), unseen: number(100 * trial.unseen, 1) })}<//>`)}${!rooms.trials.some((trial) => trial.state === "running") && html`<p class="soft">${t("versions.none")}</p>`}
    <${Table} label=${t("versions.label")} rows=${[...all].reverse()} mark=${(v) => v.aliases.includes("champion")} columns=${[
      [t("bundle"), (v) => html`<span class="id">${v.bundle}</span> ${v.aliases && html`<span class="tag good">${v.aliases}</span>`}`],
      [t("versions.at"), (v) => v.registered_at, "d"], [t("ranker"), (v) => v.kind || "–"], [t("days"), (v) => v.days || "–", "d"],
      [t("gates"), (v) => html`<span class=${`tag ${v.passed ? "good" : v.passed === false ? "bad" : ""}`}>${t(v.passed == null ? "gates.unnoted" : v.passed ? "gates.passed" : "gates.refused")}</span> ${v.gates || ""}`],
      [t("auc.click"), (v) => number(v.auc_click), "n"], [t("auc.long_view"), (v) => number(v.auc_long_view), "n"],
      [t("versions.served"), (v) => whole(v.impressions), "n"], [t("versions.clicks"), (v) => number(v.clicks_an_impression), "n"], [t("versions.promised"), (v) => number(v.promised), "n"],
    ]} />
    ${rooms.trials.length > 0 && html`<h2>${t("experiments")}</h2><${Table} label=${t("experiments.label")} rows=${rooms.trials} columns=${[
      [t("experiment"), (trial) => trial.name], [t("experiments.tries"), (trial) => html`<span class="id">${trial.bundle}</span>`],
      [t("state"), (trial) => html`<span class=${`tag ${trial.state === "promoted" ? "good" : trial.state === "refused" ? "bad" : ""}`}>${said(trial.state)}</span>`],
      [t("day"), (trial) => t("of", { n: trial.day, all: trial.days }), "d"], [t("experiments.by"), (trial) => said(trial.metric)], [t("experiments.why"), (trial) => trial.reasons.join("; ")],
    ]} />
    ${rooms.trials.filter((trial) => trial.looks.length > 0).map((trial) => html`<h3>${t("trial.looked", { name: trial.name })}</h3><${Table} label=${t("trial.look", { name: trial.name })} rows=${trial.looks} mark=${(l) => l.metric === trial.metric} columns=${[
      [t("metric"), (l) => said(l.metric)], [t("arm"), (l) => l.arm], [t("users"), (l) => whole(l.users), "n"], [t("change"), (l) => percent(l.relative), "n"],
      [t("interval.looks"), (l) => t("to", { low: percent(l.low), high: percent(l.high) }), "n"],
    ]} />`)}`}
    <h2>${t("versions.over")}</h2><${Curves} label=${t("versions.auc")} names=${names} lines=${[[t("auc.click"), all.map((v) => v.auc_click)], [t("auc.long_view"), all.map((v) => v.auc_long_view)]]} />
    ${rooms.verdict.length > 0 && html`<h2>${t("versions.gates")}</h2>${rooms.verdict_reasons.map((why) => html`<p>${why}</p>`)}
    <${Table} label=${t("gates")} rows=${rooms.verdict} columns=${[[t("gates.claim"), (g) => g.claim], [t("gates.outcome"), (g) => html`<span class=${`tag ${g.outcome === "holds" ? "good" : g.outcome === "fails" ? "bad" : ""}`}>${said(g.outcome)}</span>`], [t("gates.why"), (g) => g.reason]]} />`}
    <h2>${t("versions.diff")}</h2><${Diff} bundles=${all.map((v) => v.bundle).reverse()} />
    <h2>${t("versions.history")}</h2><${Table} label=${t("history")} rows=${[...all].reverse().filter((v) => v.history || v.reasons)} empty=${t("nothing.yet")} columns=${[[t("bundle"), (v) => html`<span class="id">${v.bundle}</span>`], [t("history"), (v) => v.history], [t("verdict"), (v) => v.reasons || "–"]]} />`;
}

export function Health({ rooms }) {
  const down = Object.entries(rooms.breakers).filter(([, state]) => state !== "closed");
  return html`
    <p class="lead">${down.length ? t("health.down", { parts: down.map(([part]) => part).join(", ") }) : t("health.well")}</p>
    ${rooms.refused && html`<${Notice} bad>${t("health.refused", { why: rooms.refused })}<//>`}
    ${rooms.lost_served_rows > 0 && html`<${Notice} bad>${t("health.lost", { n: whole(rooms.lost_served_rows) })}<//>`}
    <${Facts} of=${[[t("health.bundle"), html`<span class="id">${rooms.bundle}</span>`], [t("position"), whole(rooms.position)], [t("health.late"), whole(rooms.late_items)], [t("health.rows"), whole(rooms.lost_served_rows)]]} />
    <h2>${t("health.parts")}</h2><${Table} label=${t("health.parts.label")} rows=${Object.entries(rooms.breakers)} columns=${[[t("health.part"), ([part]) => part], [t("health.circuit"), ([, state]) => html`<span class=${`tag ${state === "closed" ? "good" : "bad"}`}>${state === "closed" ? t("health.answers") : said(state)}</span>`]]} />
    <h2>${t("health.rungs")}</h2><${Table} label=${t("health.rungs.label")} rows=${Object.entries(rooms.rungs)} empty=${t("served.none")} columns=${[[t("rung"), ([rung]) => said(rung)], [t("health.slates"), ([, n]) => whole(n), "n"]]} />
    ${rooms.drift && html`<h2>${t("drift.on", { day: rooms.drift.day })}</h2><p>${t(rooms.drift.moved ? "drift.moved" : "drift.still", { n: whole(rooms.drift.moved), against: rooms.drift.against })}</p>
      <${Table} label=${t("drift")} rows=${Object.entries(rooms.drift.columns)} columns=${[[t("column"), ([name]) => html`<span class="long">${name}</span>`], [t("drift.bound"), ([, excess]) => percent(excess), "n"],
        [`~${t("bar")}`, ([, excess]) => html`<${Bar} value=${Math.min(excess, 1)} most=${1} words=${`${percent(excess)} ${t("drift.bound")}`} />`]]} />`}
    ${rooms.complete && html`<h2>${t("complete", { day: rooms.complete.day })}</h2><${Table} label=${t("complete.label")} rows=${Object.entries(rooms.complete.unknown)} columns=${[[t("complete.feature"), ([name]) => html`<span class="long">${name}</span>`], [t("complete.rows"), ([, share]) => percent(share), "n"]]} />
      ${rooms.complete.never.length > 0 && html`<p class="soft">${t("complete.never", { features: rooms.complete.never.join(", ") })}</p>`}`}
    <h2>${t("fresh")}</h2><${Table} label=${t("fresh.label")} rows=${rooms.fresh} empty=${t("fresh.none")} columns=${[[t("fresh.what"), (f) => html`<span class="long">${f.name}</span>`], [t("fresh.day"), (f) => f.newest_day || "–", "d"], [t("fresh.written"), (f) => instant(f.written_at), "d"]]} />
    <h2>${t("reports")}</h2>${rooms.reports.length === 0 ? html`<p class="soft">${t("reports.none")}</p>` : html`<ul>${rooms.reports.map((name) => html`<li>${hasKey()
      ? html`<button type="button" class="small" onClick=${() => openReport(name)}>${name}</button>` : html`<a href=${`/reports/${name}`}>${name}</a>`} ${word(`report.${name}`)}</li>`)}</ul>`}
    <p><a href="/metrics">metrics</a>, <a href="/openapi.json">openapi.json</a>, <a href="/readyz">readyz</a></p>`;
}
