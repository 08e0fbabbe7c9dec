// Jobs: starting a reconcile after its dry run, all jobs, and one job with its progress and report.

import { useEffect, useState } from "./preact-hooks-11.2.0.js";
import { get, url } from "./api.js";
import { bytes, count, csv, some, visible, words } from "./format.js";
import { Estimate, JOBS, cancelJob, forReal, reconcile } from "./actions.js";
import { ActionButton, Badge, Copy, Facts, Failure, Heading, Name, Notice, Polled, Select, Table, Time, asProblem, download, html, link, say, usePoll, useShared } from "./ui.js";

const RESULTS = ["started", "discarded", "running", "skipped", "refused", "failed"];
const CLASSES = ["match", "missing", "stale", "extra", "error"];
const PHASES = { survey: "looking", extras: "looking for extra blobs at the target", act: "acting" };
const COLUMNS = ["class", "result", "name", "etag", "size", "id", "detail"];
const SHOWN = 200;
const MOST_LINES = 200_000;
const FASTEST = 100;

async function load() {
  const pages = await Promise.all(Object.values(JOBS).map((path) => get(url(path, { limit: 100 }))));
  const jobs = Object.keys(JOBS).flatMap((kind, index) => pages[index].items.map((job) => ({ ...job, kind })));
  return jobs.sort((a, b) => (b.state === "running") - (a.state === "running") || b.created_at.localeCompare(a.created_at)).slice(0, SHOWN);
}

export function Jobs() {
  const poll = usePoll(load, []);
  return html`
    <${Heading} title="Jobs" />
    <${NewReconcile} />
    <h2>All jobs</h2>
    <${Polled} poll=${poll}>
      ${poll.data && html`<${Table} label="Jobs" heads=${["Job", "State", "For", "Progress", "Created", "Actions"]} empty="No job yet.">
        ${poll.data.map((job) => html`<tr key=${job.id}>
          <td class="title"><a href=${link(["jobs", job.kind, job.id])}>${job.kind}${job.dry_run ? " (dry run)" : ""}</a></td>
          <td><${Badge} value=${job.state} />${job.cancelling && job.state === "running" && html`<div><${Badge} value="cancelling" /></div>`}</td>
          <td><${Subject} job=${job} /></td>
          <td class="across"><${JobProgress} job=${job} /></td>
          <td><${Time} at=${job.created_at} /></td>
          <td class="actions">${job.state === "running" && html`<${ActionButton} label="Cancel …" quiet about=${job.id} action=${cancelJob(job.kind, job)} />`}</td>
        </tr>`)}
      <//>`}
    <//>`;
}

function Subject({ job }) {
  return html`${job.route ?? "all routes"}${job.prefix && html`, <${Name} text=${job.prefix} short />`}${job.reason && `, ${words(job.reason)}`}`;
}

function NewReconcile() {
  const { routes, readOnly } = useShared();
  const [route, setRoute] = useState("");
  const [prefix, setPrefix] = useState("");
  const [rate, setRate] = useState(20);
  const chosen = route || routes[0] || "";
  const valid = chosen && Number.isInteger(rate) && rate >= 1 && rate <= FASTEST;
  if (readOnly) return null;
  return html`<section class="panel" aria-label="Reconcile a route">
    <h2>Reconcile a route</h2>
    <div class="filters">
      <${Select} label="Route" value=${chosen} options=${routes} all=${null} onChange=${setRoute} />
      <label class="field">Only names that begin with <input type="text" value=${prefix} onInput=${(event) => setPrefix(event.target.value)} /></label>
      <label class="field">Blobs per second <input type="number" min="1" max=${FASTEST} value=${rate} onInput=${(event) => setRate(event.target.valueAsNumber)} /></label>
      <${ActionButton} label="Dry run …" disabled=${!valid} action=${reconcile(chosen, prefix, rate)} />
    </div>
  </section>`;
}

function JobProgress({ job: { state, phase, counts, dry_run: dry } }) {
  const acted = RESULTS.reduce((total, name) => total + (counts[name] ?? 0), 0);
  const found = `${count(counts.found)} found, ${bytes(counts.bytes)}`;
  if (dry) return html`<span>${found}</span>`;
  const results = RESULTS.filter((name) => counts[name]).map((name) => `${count(counts[name])} ${name}`).join(", ");
  return html`
    ${state === "running" && phase !== "act" && html`<div class="progress"><progress aria-label=${PHASES[phase] ?? words(phase)} /> <span class="muted">${PHASES[phase] ?? words(phase)}</span></div>`}
    ${state === "running" && phase === "act" && html`<div class="progress"><progress max=${Math.max(counts.found, 1)} value=${acted} aria-label=${`${acted} of ${counts.found}`} />
      <span class="muted">${Math.floor((100 * acted) / Math.max(counts.found, 1))} %</span></div>`}
    <div>${found}</div>
    ${results && html`<div class="muted">${results}</div>`}`;
}

export function Job({ parts: [kind, id] }) {
  if (!(kind in JOBS)) return html`<${Heading} title="Job" /><${Notice} kind="bad">There is no kind of job named ${visible(kind)}.<//>`;
  return html`<${OneJob} kind=${kind} path=${`${JOBS[kind]}/${encodeURIComponent(id ?? "")}`} id=${id ?? ""} />`;
}

function OneJob({ kind, path, id }) {
  const poll = usePoll(() => get(path), [path]);
  const job = poll.data;
  return html`
    <${Heading} title=${`${kind[0].toUpperCase()}${kind.slice(1)}`}><a href=${link(["jobs"])}>All jobs</a><//>
    <p class="id"><code>${visible(id)}</code> <${Copy} text=${id} what="job id" /></p>
    <${Polled} poll=${poll}>
      ${job && html`
        <div class="summary"><${Badge} value=${job.state} /> ${job.dry_run && html`<${Badge} value="plain" text="dry run" />`} <span><${Subject} job=${job} /></span></div>
        ${job.detail && html`<${Notice} kind="bad"><${Name} text=${job.detail} /><//>`}
        ${job.dry_run && job.state === "done" && kind === "reconcile" && html`<${Estimate} job=${job} rate=${job.max_per_second} here />`}
        <div class="buttons start">
          ${job.state === "running" && html`<${ActionButton} label="Cancel …" action=${cancelJob(kind, job)} />`}
          ${job.state === "done" && job.dry_run && html`<${ActionButton} label="Start for real …" action=${forReal(kind, job)} />`}
        </div>
        <${Facts} rows=${[
          ["Progress", html`<${JobProgress} job=${job} />`],
          ["At most", `${count(job.max_per_second)} per second`],
          ["Created", html`<${Time} at=${job.created_at} />`],
          ["Updated", html`<${Time} at=${job.updated_at} />`],
        ]} />
        <h2>Counts</h2>
        <div class="counts">${Object.entries(job.counts).map(([name, value]) => html`<div><span class="term">${words(name)}</span> <strong>${name === "bytes" ? bytes(value) : count(value)}</strong></div>`)}</div>
        <h2>Report</h2>
        <${Report} path=${path} id=${id} kind=${kind} pages=${job.pages} />`}
    <//>`;
}

function Report({ path, id, kind, pages }) {
  const [filter, setFilter] = useState({});
  const [state, set] = useState({ lines: [], next: "", busy: false, problem: null });
  const read = async (from, lines) => {
    set({ lines, next: from, busy: true, problem: null });
    try {
      let next = from;
      const found = [];
      // Filters apply to each page, so a page may be empty.
      do {
        const page = await get(url(`${path}/report`, { ...filter, continuation: next }));
        found.push(...page.items);
        next = page.continuation;
      } while (next && found.length < SHOWN);
      set({ lines: [...lines, ...found], next, busy: false, problem: null });
    } catch (error) {
      set({ lines, next: from, busy: false, problem: asProblem(error) });
    }
  };
  useEffect(() => {
    read("", []);
  }, [path, pages, filter.class, filter.result]);
  const save = async (type) => {
    try {
      const lines = [];
      let next = "";
      do {
        const page = await get(url(`${path}/report`, { ...filter, continuation: next }));
        lines.push(...page.items);
        next = page.continuation;
      } while (next && lines.length < MOST_LINES);
      if (type === "csv") download(`${id}.csv`, csv(lines, COLUMNS), "text/csv");
      else download(`${id}.jsonl`, lines.map((line) => `${JSON.stringify(line)}\n`).join(""), "application/jsonl");
      say(`${some(lines.length, "line")} downloaded`);
    } catch (error) {
      set((was) => ({ ...was, problem: asProblem(error) }));
    }
  };
  return html`
    <div class="filters">
      ${kind === "reconcile" && html`<${Select} label="Class" value=${filter.class ?? ""} options=${CLASSES} onChange=${(value) => setFilter({ ...filter, class: value })} />`}
      <${Select} label="Result" value=${filter.result ?? ""} options=${RESULTS} onChange=${(value) => setFilter({ ...filter, result: value })} />
      <button type="button" disabled=${state.busy || !state.lines.length} onClick=${() => save("csv")}>Download CSV</button>
      <button type="button" disabled=${state.busy || !state.lines.length} onClick=${() => save("jsonl")}>Download JSON Lines</button>
    </div>
    ${state.problem && html`<${Failure} problem=${state.problem} />`}
    <${Table} label="Report" heads=${["Class", "Result", "Blob", { text: "Size", number: true }, "Detail"]} empty=${state.busy ? "Loading …" : "No line."}>
      ${state.lines.map((line, index) => html`<tr key=${index}>
        <td>${line.class ?? line.reason?.replaceAll("_", " ") ?? "–"}</td>
        <td>${line.result ? html`<${Badge} value=${line.result} />` : "–"}</td>
        <td class="title">${line.id ? html`<a href=${link([kind === "discard" ? "dead-letters" : "transfers", line.id])}><${Name} text=${line.name ?? line.id} short /></a>` : html`<${Name} text=${line.name} short />`}</td>
        <td class="number">${bytes(line.size)}</td>
        <td class="wide">${line.detail && html`<${Name} text=${line.detail} />`}</td>
      </tr>`)}
    <//>
    <p class="muted">${some(state.lines.length, "line")} loaded. ${state.next && html`<button type="button" disabled=${state.busy} onClick=${() => read(state.next, state.lines)}>Load more</button>`}</p>`;
}
