// Transfers: what runs first, then the newest of what is loaded. Lists of the API have no order, so the page sorts them.

import { useEffect, useRef, useState } from "./preact-hooks-11.2.0.js";
import { get, url } from "./api.js";
import { bytes, count, seconds, some, visible, words } from "./format.js";
import { cancelTransfer, shareBlob } from "./actions.js";
import { ActionButton, Badge, Failure, Heading, Name, Polled, Select, Table, Time, asProblem, go, html, link, usePoll, useShared } from "./ui.js";

export const STATES = ["accepted", "copying", "verified", "superseded", "dead_lettered", "cancelled"];
const RUNNING = ["accepted", "copying"];
export const isFinal = (transfer) => !RUNNING.includes(transfer.state);

const PER_PAGE = 100;
const PER_CALL = 500;
const MOST = 10_000;
// Transfers that ended since the last poll and are read one by one, and pages read for a filter that few match.
const ENDED_PER_POLL = 10;
const CALLS_PER_LOAD = 20;

export function Transfers({ query }) {
  const { routes } = useShared();
  const { route = "", state = "", name = "" } = query;
  const filter = (changes) => go(["transfers"], { route, state, ...changes });
  return html`
    <${Heading} title="Transfers" />
    <div class="filters">
      <${Select} label="Route" value=${route} options=${[...new Set([...routes, route].filter(Boolean))]} onChange=${(value) => filter({ route: value })} />
      <${Select} label="State" value=${state} options=${STATES} onChange=${(value) => filter({ state: value })} />
      <${Search} key=${`${route}/${name}`} route=${route || routes[0] || ""} name=${name} />
    </div>
    ${name ? html`<${Found} key=${`${route} ${name}`} route=${route} name=${name} />` : html`<${List} key=${`${route} ${state}`} route=${route} state=${state} />`}
  `;
}

function Search({ route, name }) {
  const [typed, set] = useState(name);
  const submit = (event) => {
    event.preventDefault();
    // Names may begin or end with spaces, so nothing is trimmed.
    go(["transfers"], typed ? { route, name: typed } : { route });
  };
  return html`<form class="search" role="search" onSubmit=${submit}>
    <label class="field">Exact blob name on ${route || "a route"} <input type="search" value=${typed} onInput=${(event) => set(event.target.value)} /></label>
    <button type="submit" disabled=${!route}>Find</button>
  </form>`;
}

function Found({ route, name }) {
  const rates = useRates();
  const poll = usePoll(async () => {
    try {
      return { transfer: rates.note(await get(url("transfers", { route, name }))) };
    } catch (error) {
      if (error.status !== 404) throw error;
      return { problem: { title: error.title, detail: error.detail, fix: error.fix } };
    }
  }, [route, name]);
  const found = poll.data;
  return html`
    <p>The transfer of <${Name} text=${name} /> on the route ${route}. <a href=${link(["transfers"], { route })}>Show all transfers</a></p>
    <${Polled} poll=${poll}>
      ${found?.problem && html`<${Failure} problem=${found.problem} /><${ActionButton} label="Share this blob …" action=${shareBlob(route, name)} />`}
      ${found?.transfer && html`<${Rows} transfers=${[found.transfer]} rates=${rates} />`}
    <//>`;
}

function List({ route, state }) {
  const rates = useRates();
  const store = useRef(new Map());
  const next = useRef(undefined); // undefined: no page was read yet; null: all were
  const [page, setPage] = useState(0);
  const [more, setMore] = useState({ busy: false, problem: null });
  const live = useRef(true);
  useEffect(() => () => { live.current = false; }, []);

  const keep = (items) => {
    for (const item of items) store.current.set(item.id, rates.note(item));
  };
  const load = async () => {
    const wanted = state ? RUNNING.filter((each) => each === state) : RUNNING;
    const [first, ...running] = await Promise.all([
      firstPage(),
      ...wanted.map((each) => get(url("transfers", { route, state: each, limit: PER_CALL }))),
    ]);
    const before = [...store.current.values()].filter((item) => !isFinal(item));
    const now = new Set(running.flatMap((answer) => answer.items.map((item) => item.id)));
    keep(first.items);
    keep(running.flatMap((answer) => answer.items));
    if (next.current === undefined) next.current = first.continuation;
    // What ran and runs no longer has ended. Where the list of running ones has further pages, some may still run.
    const gone = before.filter((item) => !now.has(item.id)).slice(0, ENDED_PER_POLL);
    const ended = await Promise.all(gone.map((item) => get(`transfers/${item.id}`).catch((error) => dropUnknown(error, item.id))));
    keep(ended.filter(Boolean));
    return { size: store.current.size, first: first.items, running: running.map((answer) => answer.items), ended };
  };
  const firstPage = () => get(url("transfers", { route, state, limit: PER_PAGE }));
  const dropUnknown = (error, id) => {
    if (error.status !== 404) throw error;
    store.current.delete(id);
    return null;
  };
  const poll = usePoll(load, [route, state]);

  /** Read pages until there are `enough` more transfers. With a filter, most of a page may not match. */
  const loadMore = async (enough) => {
    setMore({ busy: true, problem: null });
    const target = Math.min(store.current.size + enough, MOST);
    try {
      for (let calls = 0; calls < CALLS_PER_LOAD && next.current && store.current.size < target && live.current; calls += 1) {
        const answer = await get(url("transfers", { route, state, limit: PER_CALL, continuation: next.current }));
        keep(answer.items);
        next.current = answer.continuation;
        setMore({ busy: true, problem: null });
      }
      setMore({ busy: false, problem: null });
    } catch (error) {
      setMore({ busy: false, problem: asProblem(error) });
    }
  };
  // A page of a filtered list may be empty although others have matches.
  useEffect(() => {
    if (poll.data && next.current && store.current.size === 0 && !more.busy) loadMore(1);
  }, [poll.data]);

  const shown = [...store.current.values()].filter((item) => !state || item.state === state).sort(order);
  const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
  const current = Math.min(page, pages - 1);
  return html`<${Polled} poll=${poll}>
    <${Rows} transfers=${shown.slice(current * PER_PAGE, (current + 1) * PER_PAGE)} rates=${rates} empty=${more.busy ? "Searching …" : "No transfer."} />
    <nav class="paging" aria-label="Pages">
      <button type="button" disabled=${current === 0} onClick=${() => setPage(current - 1)}>Previous</button>
      <span>Page ${current + 1} of ${pages}; ${some(shown.length, "transfer")} loaded${next.current ? ", more exist" : ""}</span>
      <button type="button" disabled=${current >= pages - 1} onClick=${() => setPage(current + 1)}>Next</button>
      ${next.current && store.current.size < MOST && html`
        <button type="button" disabled=${more.busy} onClick=${() => loadMore(PER_CALL)}>${more.busy ? "Loading …" : `Load ${PER_CALL} more`}</button>
        <button type="button" disabled=${more.busy} onClick=${() => loadMore(MOST)}>Load up to ${count(MOST)}</button>`}
      ${next.current && store.current.size >= MOST && html`<span>Choose a route to see others.</span>`}
    </nav>
    ${more.problem && html`<${Failure} problem=${more.problem} />`}
  <//>`;
}

const when = (item) => item.updated_at ?? item.accepted_at ?? "";
const order = (a, b) => isFinal(a) - isFinal(b) || when(b).localeCompare(when(a)) || a.id.localeCompare(b.id);

function Rows({ transfers, rates, empty }) {
  return html`<${Table} label="Transfers" heads=${["State", "Blob", "Route", { text: "Size", number: true }, "Progress", "Updated", { text: "Tries", number: true }, "Actions"]} empty=${empty}>
    ${transfers.map((item) => html`<tr key=${item.id}>
      <td><${Badge} value=${item.state} />${item.cancelling && !isFinal(item) && html`<div><${Badge} value="cancelling" /></div>`}</td>
      <td class="title"><a href=${link(["transfers", item.id])}><${Name} text=${item.source?.name ?? item.id} short /></a></td>
      <td class="of-route">${item.route ?? "–"}</td>
      <td class="number">${bytes(item.total ?? item.source?.size)}</td>
      <td class="across"><${Progress} transfer=${item} rate=${rates.of(item.id)} /></td>
      <td><${Time} at=${when(item)} /></td>
      <td class=${item.tries > 1 ? "number" : "number usual"}>${item.tries}</td>
      <td class="actions">${!isFinal(item) && html`<${ActionButton} label="Cancel …" quiet about=${visible(item.source?.name ?? item.id)} action=${cancelTransfer(item)} />`}</td>
    </tr>`)}
  <//>`;
}

export function Progress({ transfer, rate }) {
  const { copied, total } = transfer;
  if (isFinal(transfer)) return transfer.reason && html`<span class="muted">${words(transfer.reason)}</span>`;
  if (!total || transfer.state === "accepted") return html`<span class="muted">waiting${transfer.reason && `: ${words(transfer.reason)}`}</span>`;
  const left = rate ? `, ${bytes(rate)}/s, about ${seconds(Math.ceil((total - copied) / rate))} left` : "";
  const done = `${Math.floor((100 * copied) / total)} %`;
  return html`<div class="progress"><progress max=${total} value=${copied} aria-label=${`${done} copied`} />
    <span class="muted">${done}${left}</span></div>`;
}

/** The speed of each transfer, from what was copied between two states of it. */
export function useRates() {
  const kept = useRef(null);
  kept.current ??= makeRates();
  return kept.current;
}

function makeRates() {
  const known = new Map();
  return {
    note(transfer) {
      if (isFinal(transfer)) {
        known.delete(transfer.id);
        return transfer;
      }
      const at = new Date(transfer.updated_at ?? transfer.accepted_at) / 1000;
      const before = known.get(transfer.id);
      // The first rate counts from the acceptance. Later ones are smoothed.
      const from = before ?? { copied: 0, at: new Date(transfer.accepted_at) / 1000, rate: null };
      if (at > from.at) {
        const rate = (transfer.copied - from.copied) / (at - from.at);
        const smooth = from.rate === null ? rate : 0.5 * from.rate + 0.5 * rate;
        known.set(transfer.id, { copied: transfer.copied, at, rate: rate >= 0 ? smooth : null });
      }
      return transfer;
    },
    of: (id) => known.get(id)?.rate || null,
  };
}
