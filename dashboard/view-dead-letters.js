// Dead letters: all open ones grouped by their reason, and one of them with its attempts.

import { useState } from "./preact-hooks-11.2.0.js";
import { get, url } from "./api.js";
import { bytes, count, some, visible, words } from "./format.js";
import { discardLetter, forGroup, forSelection, replayLetter } from "./actions.js";
import { ActionButton, Badge, Copy, Facts, Heading, Name, Notice, Polled, Prose, Select, Table, Time, go, html, link, usePoll, useShared } from "./ui.js";

const PER_CALL = 500;
const MOST_CALLS = 4;
const ROWS = 50;
const MESSAGE_SHOWN = 4_000;

async function load(route, wanted) {
  const items = [];
  let continuation = "";
  for (let calls = 0; calls < MOST_CALLS && continuation !== null && wanted(); calls += 1) {
    const page = await get(url("dead-letters", { route, limit: PER_CALL, continuation }));
    items.push(...page.items);
    continuation = page.continuation;
  }
  items.sort((a, b) => (b.last_failed_at ?? "").localeCompare(a.last_failed_at ?? ""));
  return { items, more: continuation !== null };
}

export function DeadLetters({ query: { route = "" } }) {
  const { routes, readOnly } = useShared();
  const [selected, select] = useState(new Set());
  const poll = usePoll((wanted) => load(route, wanted), [route]);
  const { data } = poll;
  const groups = Object.entries(Object.groupBy(data?.items ?? [], (letter) => letter.reason ?? "")).sort(([, a], [, b]) => b.length - a.length);
  const chosen = (data?.items ?? []).filter((letter) => selected.has(letter.id));
  const toggle = (ids, on) => select((was) => (on ? was.union(new Set(ids)) : was.difference(new Set(ids))));
  const done = () => select(new Set());
  return html`
    <${Heading} title="Dead letters" />
    <div class="filters">
      <${Select} label="Route" value=${route} options=${[...new Set([...routes, route].filter(Boolean))]} onChange=${(value) => go(["dead-letters"], { route: value })} />
      ${!readOnly && html`<div class="buttons start">
        <${ActionButton} label=${`Replay selected (${chosen.length}) …`} disabled=${!chosen.length} action=${forSelection("replay", chosen)} onDone=${done} />
        <${ActionButton} label=${`Discard selected (${chosen.length}) …`} disabled=${!chosen.length} action=${forSelection("discard", chosen)} onDone=${done} />
      </div>`}
    </div>
    <${Polled} poll=${poll}>
      ${data?.more && html`<${Notice} kind="plain">The first ${count(data.items.length)} are shown. An action on a group covers all of its dead letters.<//>`}
      ${data && !data.items.length && html`<p class="muted empty">No open dead letter.</p>`}
      ${groups.map(([reason, letters]) => html`<${Group} key=${reason} reason=${reason} letters=${letters} route=${route} selected=${selected} toggle=${toggle} />`)}
    <//>`;
}

const called = (letter) => visible(letter.name ?? letter.id);

function Group({ reason, letters, route, selected, toggle }) {
  const { readOnly } = useShared();
  const [rows, setRows] = useState(ROWS);
  const ids = letters.map((letter) => letter.id);
  const all = ids.every((id) => selected.has(id));
  const label = reason ? words(reason) : "unknown reason";
  const heads = ["Blob", "Route", { text: "Size", number: true }, "Last failed"];
  return html`<section class=${readOnly ? "group plain" : "group"} aria-label=${label}>
    <div class="heading"><h2>${label} <span class="badge bad">${count(letters.length)}</span></h2>
      ${reason && html`<${ActionButton} label="Replay group …" about=${label} action=${forGroup("replay", reason, route)} />
        <${ActionButton} label="Discard group …" about=${label} action=${forGroup("discard", reason, route)} />`}
    </div>
    ${letters[0].hint && html`<p class="hint"><${Prose} text=${letters[0].hint} /></p>`}
    ${!readOnly && html`<label class="check"><input type="checkbox" checked=${all} onChange=${() => toggle(ids, !all)} /> Select ${some(letters.length, "dead letter")}</label>`}
    <${Table} label=${`Dead letters: ${label}`} heads=${readOnly ? heads : ["Select", ...heads, "Actions"]}>
      ${letters.slice(0, rows).map((letter) => html`<tr key=${letter.id}>
        ${!readOnly && html`<td class="select"><label><input type="checkbox" aria-label=${`Select ${called(letter)}`} checked=${selected.has(letter.id)} onChange=${() => toggle([letter.id], !selected.has(letter.id))} /></label></td>`}
        <td class="title"><a href=${link(["dead-letters", letter.id])}>${letter.name === null ? "a message" : html`<${Name} text=${letter.name} short />`}</a></td>
        <td>${letter.route ?? "–"}</td>
        <td class="number">${bytes(letter.size)}</td>
        <td><${Time} at=${letter.last_failed_at} /></td>
        ${!readOnly && html`<td class="actions">
          <${ActionButton} label="Replay …" quiet about=${called(letter)} action=${replayLetter(letter)} />
          <${ActionButton} label="Discard …" quiet about=${called(letter)} action=${discardLetter(letter)} />
        </td>`}
      </tr>`)}
    <//>
    ${letters.length > rows && html`<button type="button" onClick=${() => setRows(rows + ROWS)}>Show ${Math.min(ROWS, letters.length - rows)} more of ${count(letters.length)}</button>`}
  </section>`;
}

export function DeadLetter({ parts: [id] }) {
  const poll = usePoll(() => get(`dead-letters/${encodeURIComponent(id)}`), [id]);
  const { data } = poll;
  return html`
    <${Heading} title="Dead letter"><a href=${link(["dead-letters"])}>All dead letters</a><//>
    <p class="id"><code>${visible(id)}</code> <${Copy} text=${id} what="dead letter id" /></p>
    <${Polled} poll=${poll}>${data && html`<${Record} letter=${data} />`}<//>`;
}

function Record({ letter }) {
  const { transfer } = letter;
  const subject = { id: letter.id, reason: letter.reason, name: transfer?.source.name };
  return html`
    <div class="summary"><${Badge} value=${letter.state} /> ${transfer ? html`<${Name} text=${transfer.source.name} />` : "a message"}</div>
    <${Notice} kind=${letter.state === "open" ? "bad" : "plain"}><strong>${words(letter.reason)}: </strong><${Name} text=${letter.detail} /><div><${Prose} text=${letter.hint} /></div><//>
    ${letter.state === "open" && html`<div class="buttons start">
      <${ActionButton} label="Replay …" action=${replayLetter(subject)} />
      <${ActionButton} label="Discard …" action=${discardLetter(subject)} />
    </div>`}
    <${Facts} rows=${[
      transfer && ["Transfer", html`<a href=${link(["transfers", letter.id.replace(/-notice$/, "")])}>Open the transfer</a>`],
      transfer && ["Route", transfer.route],
      transfer && ["Size", bytes(transfer.source.size)],
      transfer && ["Source ETag", html`<code>${visible(transfer.source.etag)}</code>`],
      transfer && ["Source", html`<code>${visible(transfer.source.url)}</code>`],
      transfer && ["Target", html`<code>${visible(transfer.target.url)}</code>`],
      letter.resolved_at && ["Resolved", html`<${Time} at=${letter.resolved_at} /> as ${words(letter.resolved_as)}`],
      ["Written by", `version ${letter.app_version}`],
    ]} />
    <h2>Attempts</h2>
    <${Table} label="Attempts" heads=${[{ text: "Attempt", number: true }, "Started", "Failed", "Reason", "Detail", { text: "Tries", number: true }]}>
      ${Object.entries(letter.attempts).map(([number, attempt]) => html`<tr key=${number}>
        <td class="number">${number}</td><td><${Time} at=${attempt.started_at} /></td><td><${Time} at=${attempt.failed_at} /></td>
        <td>${words(attempt.reason)}</td><td class="wide"><${Name} text=${attempt.detail} /></td><td class="number">${attempt.tries}</td>
      </tr>`)}
    <//>
    ${letter.message !== null && html`<h2>Message</h2><pre tabindex="0" aria-label="Message"><${Name} text=${message(letter.message)} /></pre>`}`;
}

function message(base64) {
  const binary = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const text = new TextDecoder().decode(binary);
  return text.length > MESSAGE_SHOWN ? `${text.slice(0, MESSAGE_SHOWN)} …` : text;
}
