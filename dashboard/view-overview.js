// The overview: figures over all routes, each route, and the newest failures.

import { get, url } from "./api.js";
import { Latency, Throughput } from "./chart.js";
import { bytes, count, percent, seconds, some, words } from "./format.js";
import { Badge, Heading, Name, Notice, Polled, Table, Time, html, link, usePoll, useShared } from "./ui.js";

const NEWEST = 8;

async function load() {
  const [routes, summary, letters] = await Promise.all([
    optional("routes"),
    optional("summary"),
    get(url("dead-letters", { limit: 500 })),
  ]);
  // A list has no order, so the newest are those of its first page.
  const newest = letters.items.toSorted((a, b) => (b.last_failed_at ?? "").localeCompare(a.last_failed_at ?? ""));
  return { routes, summary, newest: newest.slice(0, NEWEST), listed: letters.items.length, more: letters.continuation !== null };
}

/** Return an answer, or null where this release of the API has no such call. */
async function optional(path) {
  try {
    return await get(path);
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

export function Overview() {
  const poll = usePoll(load, []);
  const { data } = poll;
  return html`
    <${Heading} title="Overview">
      ${data?.summary && html`<span class="muted">${data.summary.updated_at ? html`Figures of <${Time} at=${data.summary.updated_at} />` : "The figures are not counted yet."}</span>`}
    <//>
    <${Polled} poll=${poll}>
      ${data && html`<${Tiles} data=${data} />`}
      ${data && !data.summary && html`<${Notice} kind="plain">This version of the API has no figures (GET /api/summary). The rest of this page works.<//>`}
      ${data?.summary && html`<div class="charts">
        <${Throughput} slots=${data.summary.throughput} />
        ${data.routes && html`<${Latency} routes=${data.routes.routes} />`}
      </div>`}
      <h2>Routes</h2>
      ${data && html`<${Routes} routes=${data.routes} />`}
      <h2>Newest failures</h2>
      ${data && html`<${Failures} letters=${data.newest} />`}
    <//>`;
}

function Tiles({ data: { summary, listed, more } }) {
  const letters = summary ? sum(summary.dead_letters) : listed;
  return html`<div class="tiles">
    ${summary && html`
      <${Tile} term="Waiting events" value=${count(summary.queued.count)} more=${summary.queued.oldest_at && html`oldest <${Time} at=${summary.queued.oldest_at} />`} />
      <${Tile} term="Running" value=${count(summary.running.count)} more=${bytes(summary.running.bytes)} href=${link(["transfers"])} />
      <${Tile} term="Verified today (UTC)" value=${count(summary.today.verified)} more=${bytes(summary.today.bytes)} />
      <${Tile} term="p95 latency, last hour" value=${seconds(summary.latency.hour.p95)} more=${`p99 ${seconds(summary.latency.hour.p99)}, ${some(summary.latency.hour.count, "transfer")}`} />
      ${summary.egress && html`<${Tile} term="Egress today (UTC)" value=${money(summary.egress)} more="estimated" />`}
    `}
    <${Tile} term="Open dead letters" value=${`${count(letters)}${!summary && more ? " or more" : ""}`} kind=${letters ? "bad" : "good"} href=${link(["dead-letters"])} more=${letters ? "open the list" : "nothing to do"} />
  </div>`;
}

function Tile({ term, value, more, kind, href }) {
  const body = html`<span class="term">${term}</span><strong>${value}</strong><span class="muted">${more}</span>`;
  return href ? html`<a class=${`tile ${kind ?? ""}`} href=${href}>${body}</a>` : html`<div class=${`tile ${kind ?? ""}`}>${body}</div>`;
}

const sum = (counts) => Object.values(counts).reduce((total, each) => total + each, 0);
const money = ({ today, currency }) => `${today.toFixed(2)} ${currency}`;

const NUMBER = (text) => ({ text, number: true });

function Routes({ routes }) {
  const shared = useShared();
  if (routes === null) {
    return html`<${Table} label="Routes" heads=${["Route", "Transfers"]}>
      ${shared.routes.map((name) => html`<tr key=${name}><td>${name}</td><td><a href=${link(["transfers"], { route: name })}>transfers of ${name}</a></td></tr>`)}
    <//>`;
  }
  const heads = ["Route", "State", NUMBER("Running"), NUMBER("Verified today"), NUMBER("p50"), NUMBER("p95"), NUMBER("p99"), "Objective", NUMBER("Dead letters")];
  return html`<${Table} label="Routes" heads=${heads} empty="No route.">
    ${routes.routes.map((route) => html`<${Route} key=${route.route} route=${route} />`)}
  <//>`;
}

function Route({ route }) {
  const letters = sum(route.dead_letters);
  const { hour } = route.latency;
  return html`<tr class="route">
    <th scope="row" class="title"><a href=${link(["transfers"], { route: route.route })}>${route.route}</a><div><${Name} text=${`${place(route.source)} → ${place(route.target)}`} short /></div></th>
    <td><${Badge} value=${route.state} />${route.budget && html`<div class="muted">${bytes(route.budget.used)} of ${bytes(route.budget.daily_bytes)}</div>`}</td>
    <td class="number">${count(route.running.count)}<div class="muted">${route.running.count ? bytes(route.running.bytes) : ""}</div></td>
    <td class="number">${count(route.today.verified)}<div class="muted">${bytes(route.today.bytes)}${route.egress ? `, ${money(route.egress)}` : ""}</div></td>
    ${["p50", "p95", "p99"].map((name) => html`<td class="number">${seconds(hour[name])}</td>`)}
    <td class="objective"><${Objective} objective=${route.objective} /></td>
    <td class="number">${letters ? html`<a class="bad-text" href=${link(["dead-letters"], { route: route.route })}>${count(letters)}</a>` : "0"}</td>
  </tr>`;
}

/** Return account, container and prefix of a URL, without scheme and domain. */
function place(address) {
  return address.replace(/^https?:\/\//, "").replace(/\.blob\.core\.windows\.net/, "");
}

function Objective({ objective }) {
  if (!objective) return html`<span class="muted">none</span>`;
  return html`<${Badge} value=${objective.met ? "met" : "missed"} />
    <div class="muted">${percent(objective.share)} within ${seconds(objective.within)}, aim ${objective.percentile} %</div>
    <div class="muted">error budget left: ${percent(Math.max(0, objective.budget_left), 0)}</div>`;
}

function Failures({ letters }) {
  return html`<${Table} label="Newest failures" heads=${["Blob", "Route", "Reason", "Failed"]} empty="No open dead letter.">
    ${letters.map((letter) => html`<tr key=${letter.id}>
      <td class="title"><a href=${link(["dead-letters", letter.id])}>${letter.name === null ? "a message" : html`<${Name} text=${letter.name} short />`}</a></td>
      <td>${letter.route ?? "–"}</td>
      <td><${Badge} value="open" text=${words(letter.reason ?? "unknown")} /></td>
      <td><${Time} at=${letter.last_failed_at} /></td>
    </tr>`)}
  <//>`;
}
