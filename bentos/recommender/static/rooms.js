// Requests, Items, Shelves, Versions, Health.
import { useEffect, useState } from "./vendor/hooks.js";
import { hasKey, openReport } from "./api.js";
import { Bar, Curves, Facts, Item, Notice, Search, Select, Status, Table, html, instant, number, percent, said, useCall, whole } from "./parts.js";
import { Behinds, Compared, Slate, Summary } from "./slate.js";

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
    <p class="lead">Open any request that the served log keeps, computed again from the log and held to it bit by bit.</p>
    <form class="ask" onSubmit=${open}><div class="fields">
      <div><label for="request">Request id</label><input id="request" value=${typed} onInput=${(e) => setTyped(e.target.value)} /></div>
      <${Search} label="Or search by user" what="requests" hint="letters of a user's id" onPick=${(row) => go(`requests/${row.id}`)} />
    </div><div class="row"><button class="main" type="submit">Open</button>${id && html`<a href="#/requests">the latest requests</a>`}</div></form>
    ${!id && html`<${Status} wrong=${listWrong} /><h2>The latest</h2><${Table} label="latest requests" rows=${list ? list.rows : []} empty=${list ? "Nothing was served yet." : "…"} columns=${[
      ["when (UTC)", (r) => instant(r.at), "d"], ["user", (r) => r.title], ["what", (r) => r.detail],
      ["request", (r) => html`<a href=${`#/requests/${r.id}`} class="id">${r.id}</a>`],
    ]} />`}
    ${id && html`<${Status} busy=${busy} wrong=${wrong} words=${answer && `Opened in ${number(answer.took, 0)} ms.`} />`}
    ${id && past && html`<section aria-label="request">
      <h2>Request <span class="id">${past.request_id}</span></h2>
      <p><span class=${`tag ${past.same === true ? "good" : past.same === false ? "bad" : ""}`}>${past.same === true ? "same to the bit" : past.same === false ? "differs" : "not compared"}</span> ${past.words}</p>
      <${Facts} of=${[["user", answer.user_id || "without consent"], ["served (UTC)", instant(past.served_at)], ["shelf", answer.shelf], ["device", answer.device || "unknown"], ["rung", said(past.rung)], ["bundle", html`<span class="id">${past.bundle}</span>`]]} />
      <h2>As it was served</h2>
      <${Table} label="as it was served" rows=${past.logged} columns=${[
        ["#", (_, i) => i + 1, "n"], ["item", (l) => html`<${Item} item=${l} />`], ["source", (l) => said(l.source)],
        ["score", (l) => number(l.score, 6), "n"], ["P(click)", (l) => number(l.p_click, 6), "n"], ["watch s", (l) => number(l.expected_watch_seconds, 2), "n"],
        ...(computed ? [["computed again", (l, i) => answer.items[i] && answer.items[i].item_id === l.item_id && answer.items[i].score === l.score ? html`<span class="tag good">same</span>` : html`<span class="tag bad">${answer.items[i] ? answer.items[i].title || answer.items[i].item_id : "nothing"}</span>`]] : []),
      ]} />
      ${computed && html`
        ${bundles.length > 0 && html`<h2>The same under another bundle</h2><div class="fields"><${Select} label="Bundle" value=${bundle} onPick=${setBundle} options=${[["", "choose one"], ...bundles.map((b) => [b, b])]} /></div>
          ${otherWrong && html`<${Notice} bad>${otherWrong.message}<//>`}
          ${bundle && other && html`<${Compared} left=${answer} right=${other} titles=${["then", bundle]} />`}`}
        <h2>Why</h2><${Summary} of=${answer} />
        <${Slate} of=${answer} label="computed again" ask=${(of) => ({ user_id: of.user_id || "-", consent: !!of.user_id, shelf: of.shelf, context: { at: of.as_of, ...(of.device ? { device: of.device } : {}) }, position: of.position, bundle: of.bundle })} />
        <${Behinds} of=${answer} />`}
    </section>`}`;
}

export function Items({ id, go }) {
  const [answer, wrong, busy, start] = useCall("/item");
  useEffect(() => { if (id) start({ item_id: id }); }, [id]);
  const most = answer ? Math.max(...answer.days.map((d) => d.counts.impression), 1) : 1;
  const nearest = answer && answer.neighbours.length ? answer.neighbours[0].similarity : 1;
  return html`
    <p class="lead">An item: where it stands, what happened with it, and what the same people engage with.</p>
    <form class="ask" onSubmit=${(event) => event.preventDefault()}><div class="fields"><${Search} label="Item" what="items" hint="title, id, category, creator" onPick=${(row) => go(`items/${encodeURIComponent(row.id)}`)} /></div></form>
    ${id && html`<${Status} busy=${busy} wrong=${wrong} />`}
    ${id && answer && html`<section aria-label="item">
      <h2>${answer.title || answer.item_id} ${!answer.is_available && html`<span class="tag bad">not available</span>`}</h2>
      <${Facts} of=${[["id", html`<span class="id">${answer.item_id}</span>`], ["type", answer.item_type], ["category", answer.category], ["creator", answer.creator_id], ["length", answer.duration_ms ? `${Math.round(answer.duration_ms / 1000)} s` : "unknown"], ["published (UTC)", answer.published_at ? instant(answer.published_at) : "unknown"]]} />
      <h2>Ever</h2><${Facts} of=${Object.entries(answer.ever).map(([name, n]) => [`${said(name)}s`, whole(n)])} />
      <h2>By day</h2>
      <${Table} label="counters by day" rows=${answer.days.filter((d) => Object.values(d.counts).some((n) => n)).reverse()} empty="Nothing happened with it in the last 28 days of the log." columns=${[
        ["day (UTC)", (d) => d.day, "d"], ["impressions", (d) => whole(d.counts.impression), "n"],
        ["~as a bar", (d) => html`<${Bar} value=${d.counts.impression} most=${most} words=${`${d.counts.impression} impressions`} />`],
        ["clicks", (d) => whole(d.counts.click), "n"], ["long views", (d) => whole(d.counts.long_view), "n"], ["likes", (d) => whole(d.counts.like), "n"], ["skips", (d) => whole(d.counts.skip), "n"],
      ]} />
      <h2>Where it is shown</h2>
      <${Table} label="shelves" rows=${answer.shelves} columns=${[
        ["shelf of the log", (s) => s.shelf], ["impressions", (s) => whole(s.counts.impression), "n"], ["clicks", (s) => whole(s.counts.click), "n"],
        ["place in trending", (s) => s.trending ?? "–", "n"], ["place in popular", (s) => s.popular ?? "–", "n"],
        ["left to explore", (s) => s.exploring ?? "–", "n"],
      ]} /><p class="soft">Left to explore: impressions that a new item may still get by chance, whatever its score.</p>
      <h2>Neighbours</h2><p class="soft">Engaged with by the same people; 1 would be all of them.</p>
      <${Table} label="neighbours" rows=${answer.neighbours} empty="It has none yet: too few people engaged with it, or it is newer than the bundle." columns=${[
        ["item", (n) => html`<${Item} item=${n} />`], ["likeness", (n) => number(n.similarity), "n"], ["~as a bar", (n) => html`<${Bar} value=${n.similarity} most=${nearest} words=${`likeness ${number(n.similarity)}`} />`],
      ]} />
    </section>`}`;
}

export function Shelves({ rooms }) {
  const report = rooms.evaluation;
  return html`
    <p class="lead">What may stand on each shelf, and how the champion ranks against plain rules on days that it did not learn from.</p>
    <h2>Rules</h2>
    <${Table} label="rules of the shelves" rows=${rooms.shelves} columns=${[
      ["shelf", (s) => s.name], ["shows", (s) => s.item_types.join(", ")], ["a place is", (s) => s.unit === "item" ? "an item" : `a ${s.unit}`],
      ["comes from", (s) => Object.entries(s.sources).map(([name, places]) => places ? `${said(name)} (${places} sure)` : said(name)).join(", ")],
      ["ordered by", (s) => said(s.order)], ["success", (s) => said(s.label)],
      ["at most, of a slate", (s) => Object.entries(s.caps).map(([name, share]) => `${Math.round(100 * share)} % of one ${name}`).join(", ")],
      ["leaves out", (s) => Object.entries(s.left_out).map(([why, days]) => days == null ? `${why} for good` : `${why} for ${days} days`).join(", ")],
      ["in the bundle's log", (s) => s.in_log ? "yes" : `ranked as ${rooms.log_shelves[0] || "unknown"}`],
    ]} />
    ${rooms.shelves.filter((s) => s.judged).map((s) => html`<h2>${s.name}: ${s.judged.passed ? "its gate passed" : "its gate refused"}</h2><p class="soft">${s.judged.reasons.join("; ")}</p>
      <${Figures} rows=${s.judged.orders} metrics=${Object.keys(s.judged.orders[0].figures)} main=${s.judged.metric} label=${`${s.name} beside its heuristics`}
        note=${`${whole(s.judged.rows)} requests had a success to find. The interval is the champion less that row in ${s.judged.metric}, 95 %.`} />`)}
    ${!report && html`<${Notice}>There is no evaluation yet: \`make run\` writes one.<//>`}
    ${report && report.labels.map((label) => html`<h2>Ranking, judged by ${said(label)}</h2><${Figures} rows=${report.models[label]} metrics=${["auc", "gauc", "log_loss", "ndcg@5", "ndcg@10"]} main="ndcg@5" label=${`ranking by ${said(label)}`}
      note=${`Test days ${report.test[0]} to ${report.test[report.test.length - 1]}, ${whole(report.impressions)} impressions. The interval is the champion less that row in ndcg@5, users resampled in pairs, wide enough that all which decide hold together in 95 %.`} />`)}
    ${report && report.sources.length > 0 && html`<h2>Candidate sources</h2><${Figures} rows=${report.sources} metrics=${["recall@50", "recall@200", "ndcg@50"]} main="recall@50" label="candidate sources" note="Over the full catalogue; the interval is of recall@50 itself, 95 %." />`}
    ${report && report.users_by_events.length > 0 && html`<h2>Cold start: people, by events before</h2><${Cold} groups=${report.users_by_events} metric="recall@50" first="events before, at least" label="people by events" curves />
      <h2>Cold start: items, by age</h2><${Cold} groups=${report.items_by_age} metric="recall@200" first="age" label="items by age" />`}
    ${report && report.new_categories.length > 0 && html`<h2>Categories that training never saw</h2><${Cold} groups=${report.new_categories} metric="recall@200" first="category" label="new categories" />`}`;
}

// How well each way finds what people of a group engaged with next.
function Cold({ groups, metric, first, label, curves }) {
  const ways = [...new Set(groups.flatMap((g) => Object.keys(g.figures)))];
  return html`${curves && html`<${Curves} label=${`${metric} by ${first}`} names=${groups.map((g) => g.name)} lines=${["champion", "popular"].map((way) => [way, groups.map((g) => g.figures[way] && g.figures[way][metric])])} />`}
    <${Table} label=${label} rows=${groups} columns=${[[first, (g) => said(g.name)], ["on the test days", (g) => whole(g.rows), "n"], ...ways.map((way) => [said(way), (g) => number(g.figures[way] && g.figures[way][metric]), "n"])]} /><p class="soft">${metric} over the full catalogue.</p>`;
}

function Figures({ rows, metrics, main, label, note }) {
  // of the champion itself there is no difference to show
  const spanOf = (row) => row.name === "champion" ? null : row.intervals[main];
  const spans = rows.map(spanOf).filter(Boolean);
  const [low, high] = [Math.min(0, ...spans.map((s) => s[0])), Math.max(0, ...spans.map((s) => s[s.length > 2 ? 2 : 1]))];
  const x = (v) => 2 + (96 * (v - low)) / Math.max(high - low, 1e-9);
  return html`<${Table} label=${label} rows=${rows} mark=${(row) => row.name === "champion" || row.name === "fused"} columns=${[
    ["name", (row) => said(row.name)],
    ...metrics.map((metric) => [metric, (row) => number(row.figures[metric]), "n"]),
    [`${main}, interval`, (row) => { const span = spanOf(row); return span ? html`<span class="soft">${number(span[0])} to ${number(span[span.length - 1])}</span>
      <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${`${number(span[0])} to ${number(span[span.length - 1])}`}><line class="axis" x1=${x(0)} x2=${x(0)} y1="0" y2="10" /><line class="span" x1=${x(span[0])} x2=${Math.max(x(span[span.length - 1]), x(span[0]) + 1)} y1="5" y2="5" /></svg>` : ""; }],
  ]} /><p class="soft">${note}</p>`;
}

function Diff({ bundles }) {
  const [pair, set] = useState({ bundle: bundles[0] || "", other: bundles[1] || "" });
  const [answer, wrong, busy, start] = useCall("/diff");
  const show = (event) => { event.preventDefault(); start({ ...pair, latest: 30 }); };
  const both = (values, digits) => values.map((v) => number(v, digits)).join(" → ");
  if (bundles.length < 2) return html`<p class="soft">There is one bundle: nothing to compare it with yet.</p>`;
  return html`<form class="ask" onSubmit=${show}><div class="fields">
      <${Select} label="Bundle" value=${pair.bundle} onPick=${(bundle) => set({ ...pair, bundle })} options=${bundles.map((b) => [b, b])} />
      <${Select} label="Other" value=${pair.other} onPick=${(other) => set({ ...pair, other })} options=${bundles.map((b) => [b, b])} />
    </div><div class="row"><button class="main" type="submit" disabled=${busy}>Show what would change</button></div></form>
    <${Status} busy=${busy} wrong=${wrong} words=${answer && (answer.words || (answer.left_out ? `${answer.left_out} requests left out: of a lower rung, or of other features.` : "Nothing was written."))} />
    ${answer && answer.cohorts.length > 0 && html`<${Table} label="what would change, by cohort" rows=${answer.cohorts} columns=${[
      ["cohort", (c) => c.cohort], ["requests", (c) => whole(c.requests), "n"], ["same slate", (c) => percent(c.same), "n"],
      ["items kept", (c) => percent(c.kept), "n"], ["places moved", (c) => number(c.moved, 1), "n"],
      ["P(click)", (c) => both(c.p_click, 3), "n"], ["P(long view)", (c) => both(c.p_long_view, 3), "n"], ["ms", (c) => both(c.ms, 1), "n"],
    ]} />`}`;
}

export function Versions({ rooms }) {
  const all = rooms.versions;
  const names = all.map((v) => v.registered_at.slice(0, 10));
  return html`
    <p class="lead">Every bundle ever registered, how it was judged and what it did in service.</p>
    ${rooms.trials.filter((t) => t.state === "running").map((t) => html`<${Notice}>Experiment ${t.name} tries <span class="id">${t.bundle}</span>: ${number(100 * t.share, 1)} % of the users are in it, it ranks unseen for ${number(100 * t.unseen, 1)} % of the others.<//>`)}${!rooms.trials.some((t) => t.state === "running") && html`<p class="soft">No experiment runs.</p>`}
    <${Table} label="bundles, newest first" rows=${[...all].reverse()} mark=${(v) => v.aliases.includes("champion")} columns=${[
      ["bundle", (v) => html`<span class="id">${v.bundle}</span> ${v.aliases && html`<span class="tag good">${v.aliases}</span>`}`],
      ["registered (UTC)", (v) => v.registered_at, "d"], ["ranker", (v) => v.kind || "–"], ["days", (v) => v.days || "–", "d"],
      ["gates", (v) => html`<span class=${`tag ${v.passed ? "good" : v.passed === false ? "bad" : ""}`}>${v.passed == null ? "not noted" : v.passed ? "passed" : "refused"}</span> ${v.gates || ""}`],
      ["AUC click", (v) => number(v.auc_click), "n"], ["AUC long view", (v) => number(v.auc_long_view), "n"],
      ["served", (v) => whole(v.impressions), "n"], ["clicks an impression", (v) => number(v.clicks_an_impression), "n"], ["promised", (v) => number(v.promised), "n"],
    ]} />
    ${rooms.trials.length > 0 && html`<h2>Experiments</h2><${Table} label="experiments" rows=${rooms.trials} columns=${[
      ["experiment", (t) => t.name], ["tries", (t) => html`<span class="id">${t.bundle}</span>`],
      ["state", (t) => html`<span class=${`tag ${t.state === "promoted" ? "good" : t.state === "refused" ? "bad" : ""}`}>${t.state}</span>`],
      ["day", (t) => `${t.day} of ${t.days}`, "d"], ["decides by", (t) => said(t.metric)], [`waits for, or ended because`, (t) => t.reasons.join("; ")],
    ]} />
    ${rooms.trials.filter((t) => t.looks.length > 0).map((t) => html`<h3>${t.name}: its last look</h3><${Table} label=${`last look of ${t.name}`} rows=${t.looks} mark=${(l) => l.metric === t.metric} columns=${[
      ["metric", (l) => said(l.metric)], ["arm", (l) => l.arm], ["users", (l) => whole(l.users), "n"], ["change", (l) => percent(l.relative), "n"],
      ["interval over all looks", (l) => `${percent(l.low)} to ${percent(l.high)}`, "n"],
    ]} />`)}`}
    <h2>Over the versions</h2><${Curves} label="AUC by version" names=${names} lines=${[["AUC click", all.map((v) => v.auc_click)], ["AUC long view", all.map((v) => v.auc_long_view)]]} />
    ${rooms.verdict.length > 0 && html`<h2>Gates of the last one judged</h2>${rooms.verdict_reasons.map((why) => html`<p>${why}</p>`)}
    <${Table} label="gates" rows=${rooms.verdict} columns=${[["claim", (g) => g.claim], ["outcome", (g) => html`<span class=${`tag ${g.outcome === "holds" ? "good" : g.outcome === "fails" ? "bad" : ""}`}>${g.outcome}</span>`], ["why", (g) => g.reason]]} />`}
    <h2>Before one ships: the last requests on two bundles</h2><${Diff} bundles=${all.map((v) => v.bundle).reverse()} />
    <h2>What happened</h2><${Table} label="history" rows=${[...all].reverse().filter((v) => v.history || v.reasons)} empty="Nothing yet." columns=${[["bundle", (v) => html`<span class="id">${v.bundle}</span>`], ["history", (v) => v.history], ["verdict", (v) => v.reasons || "–"]]} />`;
}

export function Health({ rooms }) {
  const down = Object.entries(rooms.breakers).filter(([, state]) => state !== "closed");
  return html`
    <p class="lead">${down.length ? `Done without: ${down.map(([part]) => part).join(", ")}. Slates come from a lower rung.` : "Every part answers."}</p>
    ${rooms.refused && html`<${Notice} bad>Not in service: ${rooms.refused}<//>`}
    ${rooms.lost_served_rows > 0 && html`<${Notice} bad>${whole(rooms.lost_served_rows)} served rows could not be logged: free some disk.<//>`}
    <${Facts} of=${[["bundle in service", html`<span class="id">${rooms.bundle}</span>`], ["log position", whole(rooms.position)], ["items newer than the bundle", whole(rooms.late_items)], ["served rows lost", whole(rooms.lost_served_rows)]]} />
    <h2>Parts</h2><${Table} label="parts" rows=${Object.entries(rooms.breakers)} columns=${[["part", ([part]) => part], ["circuit", ([, state]) => html`<span class=${`tag ${state === "closed" ? "good" : "bad"}`}>${state === "closed" ? "answers" : said(state)}</span>`]]} />
    <h2>Rungs of the last slates</h2><${Table} label="rungs" rows=${Object.entries(rooms.rungs)} empty="Nothing was served yet." columns=${[["rung", ([rung]) => said(rung)], ["slates", ([, n]) => whole(n), "n"]]} />
    ${rooms.drift && html`<h2>Drift on ${rooms.drift.day}</h2><p>${rooms.drift.moved ? `${whole(rooms.drift.moved)} columns have moved` : "No column has moved"}, against ${rooms.drift.against}. Above 100 % of its bound a column has moved.</p>
      <${Table} label="drift" rows=${Object.entries(rooms.drift.columns)} columns=${[["column", ([name]) => html`<span class="long">${name}</span>`], ["of its bound", ([, excess]) => percent(excess), "n"],
        ["~as a bar", ([, excess]) => html`<${Bar} value=${Math.min(excess, 1)} most=${1} words=${`${percent(excess)} of its bound`} />`]]} />`}
    ${rooms.complete && html`<h2>What features know, on ${rooms.complete.day}</h2><${Table} label="completeness" rows=${Object.entries(rooms.complete.unknown)} columns=${[["feature that knows least", ([name]) => html`<span class="long">${name}</span>`], ["rows without it", ([, share]) => percent(share), "n"]]} />
      ${rooms.complete.never.length > 0 && html`<p class="soft">Of no row is known: ${rooms.complete.never.join(", ")}. The source does not tell it.</p>`}`}
    <h2>How fresh</h2><${Table} label="freshness" rows=${rooms.fresh} empty="No table or report is here: this service has no lake." columns=${[["table, model or report", (f) => html`<span class="long">${f.name}</span>`], ["newest day", (f) => f.newest_day || "–", "d"], ["written (UTC)", (f) => instant(f.written_at), "d"]]} />
    <h2>Reports</h2>${rooms.reports.length === 0 ? html`<p class="soft">None yet: \`make run\` writes them.</p>` : html`<ul>${rooms.reports.map((name) => html`<li>${hasKey()
      ? html`<button type="button" class="small" onClick=${() => openReport(name)}>${name}</button>` : html`<a href=${`/reports/${name}`}>${name}</a>`} ${REPORTS[name]}</li>`)}</ul>`}
    <p><a href="/metrics">metrics</a>, <a href="/openapi.json">openapi.json</a>, <a href="/readyz">readyz</a></p>`;
}

const REPORTS = { "evaluation.html": "the model report", "drift.html": "drift, by Evidently, with calibrated bounds", "versions.html": "every bundle with its curves" };
