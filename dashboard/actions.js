// The changes that a reader of the page can ask for: what each will do, its dry run where the API has one, and its result.

import { Problem, change, get, url } from "./api.js";
import { bytes, count, some, words } from "./format.js";
import { Name, html, link } from "./ui.js";

export const JOBS = { reconcile: "reconciles", replay: "replays", discard: "discards" };
// How long a dialog waits for a job before it refers to the job's own page.
const PATIENCE = 15_000;
const SHOWN_FAILURES = 5;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// --- Transfers

export const cancelTransfer = (transfer) => ({
  title: "Cancel this transfer?",
  text: html`<p>The copy of <${Name} text=${transfer.source?.name} /> stops, and no incomplete target blob remains. The answer can take half a minute.</p>`,
  confirm: "Cancel the transfer",
  danger: true,
  run: async () => {
    const answer = await change("DELETE", `transfers/${transfer.id}`);
    return { text: answer.state === "cancelled" ? "The transfer is cancelled." : "The transfer has noticed the cancel, and ends." };
  },
});

export const shareBlob = (route, name) => ({
  title: "Share this blob now?",
  text: html`<p>The current version of <${Name} text=${name} /> is copied along the route ${route}, also if it was shared before.</p>`,
  confirm: "Share",
  run: async () => started(await change("POST", "transfers", { route, name })),
});

export const notifyAgain = (transfer) => ({
  title: "Send the notification again?",
  text: html`<p>The consumers of <${Name} text=${transfer.source?.name} /> are told once more that it is complete. Nothing is copied.</p>`,
  confirm: "Send again",
  run: async () => {
    await change("POST", `transfers/${transfer.id}/notify`);
    return { text: "The notification is sent again." };
  },
});

function started({ transfers }) {
  if (!transfers.length) return { text: "Accepted. No transfer follows from it." };
  return { text: "A transfer was started.", more: html`<a href=${link(["transfers", transfers[0].id])} onClick=${closeDialog}>Open it</a>` };
}

// --- Dead letters

const replayOne = async (id) => started(await change("POST", `dead-letters/${id}/replay`));
const discardOne = async (id) => {
  await change("DELETE", `dead-letters/${id}`);
  return { text: "The dead letter is discarded." };
};

export const replayLetter = (letter) => ({
  title: "Replay this dead letter?",
  text: html`<p>${letter.reason === "not_notified" ? "The recipient is told again of" : "The next attempt starts for"} ${what(letter)}. Fix the cause first, or it fails again.</p>`,
  confirm: "Replay",
  run: () => replayOne(letter.id),
});

export const discardLetter = (letter) => ({
  title: "Discard this dead letter?",
  text: html`<p>${what(letter)} is not shared, and this dead letter can never be replayed.</p>`,
  confirm: "Discard",
  danger: true,
  run: () => discardOne(letter.id),
});

const what = (letter) => (letter.name === null || letter.name === undefined ? "this message" : html`<${Name} text=${letter.name} />`);

/** Replay or discard some dead letters, one after the other. One that fails does not stop the rest. */
export const forSelection = (kind, letters) => ({
  title: kind === "replay" ? `Replay ${some(letters.length, "dead letter")}?` : `Discard ${some(letters.length, "dead letter")}?`,
  text: html`<p>${kind === "replay" ? "The next attempt starts for each of them." : "None of them can be replayed afterwards."} One that is refused does not stop the others.</p>`,
  confirm: kind === "replay" ? "Replay all of these" : "Discard all of these",
  danger: kind === "discard",
  run: async (report) => {
    const failed = [];
    for (const [index, letter] of letters.entries()) {
      report(`${count(index)} of ${count(letters.length)}`);
      try {
        await (kind === "replay" ? replayOne : discardOne)(letter.id);
      } catch (problem) {
        failed.push([letter, problem]);
        // Without a valid key, or where nothing may be changed, the others would be refused alike.
        if (problem.status === 401 || problem.status === 403) throw problem;
      }
    }
    const done = letters.length - failed.length;
    return {
      text: `${kind === "replay" ? "Replayed" : "Discarded"}: ${count(done)}. Refused: ${count(failed.length)}.`,
      more: failed.length > 0 && html`<ul>${failed.slice(0, SHOWN_FAILURES).map(([letter, problem]) => html`<li>${what(letter)}: <${Name} text=${problem.detail} /></li>`)}</ul>`,
    };
  },
});

/** Replay or discard a whole group by a job. The dry run counts it first; the job then takes no dead letter that failed later. */
export const forGroup = (kind, reason, route) => {
  let until;
  const filter = { reason, ...(route ? { route } : {}) };
  return {
    title: `${kind === "replay" ? "Replay" : "Discard"} the group “${words(reason)}”?`,
    text: html`<p>A job ${kind === "replay" ? "replays" : "discards"} all open dead letters with this reason${route ? ` of the route ${route}` : ""}.${" "}
      ${kind === "replay" ? "Fix the cause first, or they fail again." : "None of them can be replayed afterwards."}</p>`,
    confirm: kind === "replay" ? "Replay the group" : "Discard the group",
    danger: kind === "discard",
    plan: async (report, wanted) => {
      const job = await dryRun(kind, filter, report, wanted);
      until = job.created_at;
      return html`<p><strong>Dry run: ${some(job.counts.found, "dead letter")}, ${bytes(job.counts.bytes)}.</strong>${" "}
        <a href=${link(["jobs", kind, job.id])} onClick=${closeDialog}>Its report</a></p>`;
    },
    run: async (report) => ended(kind, await runJob(kind, { ...filter, until }, report, () => true, PATIENCE)),
  };
};

// --- Jobs

export const reconcile = (route, prefix, rate) => ({
  title: `Reconcile the route ${route}?`,
  text: html`<p>A job compares source and target${prefix ? html` below <${Name} text=${prefix} />` : ""}, and shares what is missing or stale, at most ${some(rate, "blob")} per second.
    The dry run below only compares. If you close this dialog, it goes on; its page lets you start the rest.</p>`,
  confirm: "Start the reconcile",
  plan: async (report, wanted) => {
    const job = await dryRun("reconcile", { route, prefix }, report, wanted);
    return html`<${Estimate} job=${job} rate=${rate} />`;
  },
  run: async (report) => ended("reconcile", await runJob("reconcile", { route, prefix, max_per_second: rate }, report, () => true, PATIENCE)),
});

/** Start a job like a dry run that has ended, without its dry run. */
export const forReal = (kind, job) => ({
  title: `Start this ${kind} now?`,
  text: html`<p>The dry run found ${some(job.counts.found, kind === "reconcile" ? "blob" : "dead letter")} with ${bytes(job.counts.bytes)}. The job looks again, so it may find others.</p>`,
  confirm: "Start",
  danger: kind === "discard",
  run: async (report) => {
    const asked = kind === "reconcile" ? { route: job.route, prefix: job.prefix } : { reason: job.reason, route: job.route, since: job.since, until: job.until };
    return ended(kind, await runJob(kind, { ...asked, max_per_second: job.max_per_second }, report, () => true, PATIENCE));
  },
});

export const cancelJob = (kind, job) => ({
  title: `Cancel this ${kind}?`,
  text: html`<p>The job ends after its current batch. ${kind === "discard" ? "What it discarded stays discarded." : "Transfers that it started go on."} The answer can take half a minute.</p>`,
  confirm: "Cancel the job",
  danger: true,
  run: async () => {
    const answer = await change("DELETE", `${JOBS[kind]}/${job.id}`);
    return { text: answer.state === "cancelled" ? "The job is cancelled." : "The job has noticed the cancel, and ends." };
  },
});

/** What a dry run of a reconcile found. `here`: on the page of the job itself. */
export function Estimate({ job, rate, here }) {
  const { counts } = job;
  return html`<p><strong>Dry run: ${some(counts.found, "blob")} to share, ${bytes(counts.bytes)}${job.egress ? `, egress about ${job.egress.estimate.toFixed(2)} ${job.egress.currency}` : ""}</strong>${" "}
    (${count(counts.missing)} missing, ${count(counts.stale)} stale). At ${count(rate)} per second, starting them takes at least ${Math.ceil(counts.found / rate)} s.${" "}
    Not touched: ${count(counts.match)} equal, ${count(counts.extra)} only at the target, ${count(counts.error)} with an error.
    ${!here && html` <a href=${link(["jobs", "reconcile", job.id])} onClick=${closeDialog}>Its report</a>`}</p>`;
}

/** Wait for a dry run. One that was cancelled or failed has no estimate on which to act. */
async function dryRun(kind, body, report, wanted) {
  const job = await runJob(kind, { ...body, dry_run: true }, report, wanted);
  if (wanted() && job.state !== "done") throw new Problem(0, `The dry run is ${job.state}`, job.detail, "Close this dialog, and start it again.");
  return job;
}

/** Start a job and wait until it ends, until nobody waits for it, or for `patience` milliseconds. Return its last state. */
async function runJob(kind, body, report, wanted, patience = Infinity) {
  const path = JOBS[kind];
  const { id } = await change("POST", path, withoutNulls(body));
  const end = Date.now() + patience;
  for (let pause = 300; ; pause = Math.min(1.5 * pause, 5_000)) {
    const job = await get(url(`${path}/${id}`));
    if (job.state !== "running" || !wanted() || Date.now() + pause > end) return job;
    report(`${some(job.counts.found, "line")} found …`);
    await sleep(pause);
  }
}

const withoutNulls = (body) => Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null && value !== undefined && value !== ""));

function ended(kind, job) {
  const more = html`<a href=${link(["jobs", kind, job.id])} onClick=${closeDialog}>Open the job</a>`;
  if (job.state === "running") return { text: "The job runs.", more };
  const results = ["started", "discarded", "running", "skipped", "refused", "failed"].filter((name) => job.counts[name]);
  return { text: `The job is ${job.state}: ${results.map((name) => `${count(job.counts[name])} ${name}`).join(", ") || "nothing to do"}.`, more };
}

/** A link in a dialog opens another view, which the dialog would cover. */
function closeDialog(event) {
  event.currentTarget.closest("dialog")?.dispatchEvent(new Event("cancel", { cancelable: true }));
}
