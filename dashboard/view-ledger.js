// The ledger: what was shared along a route on a day (UTC), page by page, and as a download.

import { useEffect, useState } from "./preact-hooks-11.2.0.js";
import { get, url } from "./api.js";
import { bytes, csv, seconds, some, words } from "./format.js";
import { Badge, Failure, Heading, Name, Select, Table, Time, asProblem, download, go, html, link, say, useShared } from "./ui.js";

const COLUMNS = [
  "id", "attempt", "state", "name", "source", "target", "size", "engine", "source_etag", "target_etag", "accepted_at", "ended_at", "latency", "reason",
];
// A download reads this many entries at most, so that the tab stays responsive.
const MOST = 200_000;

export function Ledger({ query }) {
  const { routes } = useShared();
  const route = query.route ?? routes[0] ?? "";
  const day = query.day ?? new Date().toISOString().slice(0, 10);
  const [state, set] = useState({ items: [], next: "", busy: false, problem: null });
  const read = async (from, items) => {
    set((was) => ({ ...was, busy: true, problem: null }));
    try {
      const page = await get(url("ledger", { route, day, continuation: from }));
      set({ items: [...items, ...page.items], next: page.continuation, busy: false, problem: null });
    } catch (error) {
      set({ items, next: null, busy: false, problem: explain(asProblem(error)) });
    }
  };
  useEffect(() => {
    set({ items: [], next: null, busy: false, problem: null });
    if (route) read("", []);
  }, [route, day]);
  const save = async (kind) => {
    set((was) => ({ ...was, busy: true }));
    try {
      const items = await all(route, day);
      const name = `ledger-${route}-${day}.${kind}`;
      if (kind === "csv") download(name, csv(items, COLUMNS), "text/csv");
      else download(name, items.map((item) => `${JSON.stringify(item)}\n`).join(""), "application/jsonl");
      say(`${some(items.length, "entry").replace("entrys", "entries")} downloaded`);
      set((was) => ({ ...was, busy: false }));
    } catch (error) {
      set((was) => ({ ...was, busy: false, problem: explain(asProblem(error)) }));
    }
  };
  return html`
    <${Heading} title="Ledger" />
    <div class="filters">
      <${Select} label="Route" value=${route} options=${[...new Set([...routes, route].filter(Boolean))]} all=${null} onChange=${(value) => go(["ledger"], { route: value, day })} />
      <label class="field">Day (UTC) <input type="date" value=${day} onChange=${(event) => go(["ledger"], { route, day: event.target.value })} /></label>
      <button type="button" disabled=${state.busy || !state.items.length} onClick=${() => save("csv")}>Download CSV</button>
      <button type="button" disabled=${state.busy || !state.items.length} onClick=${() => save("jsonl")}>Download JSON Lines</button>
    </div>
    ${state.problem ? html`<${Failure} problem=${state.problem} />` : html`
      <${Table} label="Entries" heads=${["Ended", "State", "Blob", { text: "Size", number: true }, { text: "Latency", number: true }, "Engine", "Source ETag", "Target ETag"]} empty=${state.busy ? "Loading …" : "No entry on this day."}>
        ${state.items.map((item) => html`<tr key=${`${item.id}/${item.attempt}`}>
          <td><${Time} at=${item.ended_at} /></td>
          <td><${Badge} value=${item.state} />${item.reason && html`<div class="muted">${words(item.reason)}</div>`}</td>
          <td class="title"><a href=${link(["transfers", item.id])}><${Name} text=${item.name} short /></a></td>
          <td class="number">${bytes(item.size)}</td>
          <td class="number">${seconds(item.latency)}</td>
          <td>${item.engine ?? "–"}</td>
          <td><code>${item.source_etag ?? "–"}</code></td>
          <td><code>${item.target_etag ?? "–"}</code></td>
        </tr>`)}
      <//>
      <p class="muted">${some(state.items.length, "line")} loaded. ${state.next && html`<button type="button" disabled=${state.busy} onClick=${() => read(state.next, state.items)}>Load more</button>`}</p>
    `}`;
}

async function all(route, day) {
  const items = [];
  let next = "";
  do {
    const page = await get(url("ledger", { route, day, continuation: next }));
    items.push(...page.items);
    next = page.continuation;
  } while (next && items.length < MOST);
  return items;
}

/** The host answers 404 without a body where the API has no ledger; the API does so with one for an unknown route. */
function explain(problem) {
  if (problem.status === 404 && problem.title.startsWith("This version")) problem.detail = "This version of the API has no ledger (GET /api/ledger).";
  return problem;
}
