// One transfer: how it went, what it copied, its receipt, and what can be done about it.

import { useRef } from "./preact-hooks-11.2.0.js";
import { get } from "./api.js";
import { bytes, count, visible, words } from "./format.js";
import { cancelTransfer, discardLetter, notifyAgain, replayLetter, shareBlob } from "./actions.js";
import { Progress, isFinal, useRates } from "./view-transfers.js";
import { ActionButton, Badge, Copy, Facts, Heading, Name, Notice, Polled, Prose, Time, html, link, usePoll } from "./ui.js";

export function Transfer({ parts: [id] }) {
  const rates = useRates();
  const without = useRef(false); // known to have no dead letter
  const poll = usePoll(async () => {
    const transfer = rates.note(await get(`transfers/${encodeURIComponent(id)}`));
    // An earlier attempt may have failed, or have been a share or a reconcile.
    const ask = transfer.letter || (transfer.attempt > 0 && !without.current);
    const letter = ask ? await get(`dead-letters/${encodeURIComponent(id)}`).catch(unlessGone) : null;
    without.current = letter === null;
    return { transfer, letter };
  }, [id]);
  const { data } = poll;
  return html`
    <${Heading} title="Transfer"><a href=${link(["transfers"])}>All transfers</a><//>
    <p class="id"><code>${visible(id)}</code> <${Copy} text=${id} what="transfer id" /></p>
    <${Polled} poll=${poll}>${data && html`<${Body} ...${data} rate=${rates.of(id)} />`}<//>`;
}

function unlessGone(problem) {
  if (problem.status === 404) return null;
  throw problem;
}

function Body({ transfer, letter, rate }) {
  const name = transfer.source?.name;
  const open = transfer.letter?.state === "open";
  return html`
    <div class="summary">
      <${Badge} value=${transfer.state} />
      ${transfer.cancelling && !isFinal(transfer) && html`<${Badge} value="cancelling" />`}
      <${Name} text=${name} />
    </div>
    ${transfer.detail && html`<${Notice} kind=${open || transfer.state === "dead_lettered" ? "bad" : "plain"}>
      ${transfer.reason && html`<strong>${words(transfer.reason)}: </strong>`}<${Name} text=${transfer.detail} />
      ${transfer.hint && html`<div><${Prose} text=${transfer.hint} /></div>`}
    <//>`}
    <div class="buttons start">
      ${!isFinal(transfer) && html`<${ActionButton} label="Cancel …" action=${cancelTransfer(transfer)} />`}
      ${open && html`<${ActionButton} label="Replay …" action=${replayLetter({ id: transfer.id, name })} />
        <${ActionButton} label="Discard …" action=${discardLetter({ id: transfer.id, name })} />`}
      ${isFinal(transfer) && name && html`<${ActionButton} label="Share again …" action=${shareBlob(transfer.route, name)} />`}
      ${transfer.state === "verified" && html`<${ActionButton} label="Notify again …" action=${notifyAgain(transfer)} />`}
    </div>
    <div class="columns">
      <section aria-label="Timeline"><h2>Timeline</h2><${Timeline} transfer=${transfer} letter=${letter} /></section>
      <section aria-label="Facts"><h2>Facts</h2>
        <${Facts} rows=${[
          ["Route", transfer.route ? html`<a href=${link(["transfers"], { route: transfer.route })}>${transfer.route}</a>` : "–"],
          !isFinal(transfer) && ["Progress", html`<${Progress} transfer=${transfer} rate=${rate} />`],
          ["Engine", transfer.engine ?? "not chosen"],
          ["Copied / total", `${bytes(transfer.copied)} / ${bytes(transfer.total)}`],
          ["Attempt", count(transfer.attempt)],
          ["Tries", count(transfer.tries)],
          transfer.resumes > 0 && ["Resumes", count(transfer.resumes)],
          ["Trace", html`${code(transfer.trace_id, "trace ID")} ${transfer.trace_url && html`<a href=${transfer.trace_url} target="_blank" rel="noreferrer">Open</a>`}`],
          letter && ["Dead letter", html`<a href=${link(["dead-letters", transfer.id])}>${letter.state}</a>`],
          transfer.successor?.id && ["Successor", html`<a href=${link(["transfers", transfer.successor.id])}>${transfer.successor.id}</a>`],
        ]} />
        <h2>Receipt</h2>
        <${Facts} rows=${[
          ["Source ETag", code(transfer.source?.etag, "source ETag")],
          ["Target ETag", code(transfer.target_etag, "target ETag")],
          ["Source", code(transfer.source?.url, "source URL")],
          ["Target", code(transfer.target?.url, "target URL")],
        ]} />
      </section>
    </div>`;
}

function code(text, what) {
  return text ? html`<code>${visible(text)}</code> <${Copy} text=${text} what=${what} />` : html`<span class="muted">not recorded</span>`;
}

function Timeline({ transfer, letter }) {
  const steps = [{ at: transfer.accepted_at, state: "accepted", text: transfer.attempt ? `attempt ${transfer.attempt}` : "first attempt" }];
  for (const [number, attempt] of Object.entries(letter?.attempts ?? {})) {
    if (Number(number) < transfer.attempt) steps.push({ at: attempt.started_at, state: "accepted", text: `attempt ${number}` });
    if (Number(number) < transfer.attempt || !isFinal(transfer)) steps.push({ at: attempt.failed_at, state: "dead_lettered", text: `attempt ${number}: ${words(attempt.reason)}` });
  }
  if (isFinal(transfer)) steps.push({ at: transfer.verified_at ?? transfer.updated_at, state: transfer.state, text: transfer.reason ? words(transfer.reason) : "" });
  else {
    if (transfer.state !== "accepted") steps.push({ at: transfer.updated_at, state: transfer.state, text: `as of the last look; engine ${transfer.engine ?? "not chosen"}` });
    if (transfer.ending) steps.push({ at: transfer.updated_at, state: transfer.ending, text: "is ending" });
    if (transfer.next_check_at) steps.push({ at: transfer.next_check_at, state: "next look", text: "" });
  }
  if (letter?.resolved_at) steps.push({ at: letter.resolved_at, state: "resolved", text: `dead letter: ${words(letter.resolved_as)}` });
  // Steps at one time stay in the order in which they follow from each other.
  steps.sort((a, b) => (a.at ?? "").localeCompare(b.at ?? ""));
  return html`<ol class="timeline">${steps.map((step) => html`<li class=${step.state}><${Time} at=${step.at} /> <${Badge} value=${step.state} /> <span class="muted">${step.text}</span></li>`)}</ol>`;
}
