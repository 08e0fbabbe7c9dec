// Health: each check, and how to fix it; on request, the trials of the doctor.

import { useState } from "./preact-hooks-11.2.0.js";
import { get } from "./api.js";
import { some } from "./format.js";
import { ActionButton, Badge, Heading, Name, Notice, Polled, Prose, Table, html } from "./ui.js";

// How the detail of a check begins that could not succeed because of another one.
const NOT_TRIED = "not tried: ";
// Azure ends a request after 230 s. An account that cannot be reached makes the trials slow.
const LONGEST = 240_000;

export function Health({ poll }) {
  const [trials, set] = useState(null);
  if (!poll) return null;
  const shown = trials ?? poll.data;
  return html`
    <${Heading} title="Health">
      <${ActionButton} label="Try everything …" action=${diagnose(set)} />
      ${trials && html`<button type="button" onClick=${() => set(null)}>Show the short check</button>`}
    <//>
    <${Polled} poll=${poll}>
      ${shown && html`<${Notice} kind=${shown.up ? "good" : "bad"}>${summary(shown.checks)}<//>
        <${Table} label="Checks" heads=${["Check", "Result", "Detail", "Fix"]}>
          ${shown.checks.toSorted((a, b) => a.ok - b.ok).map((one) => html`<tr key=${one.name} class="line">
            <th scope="row">${one.name}</th>
            <td><${Badge} value=${one.ok ? (one.detail.startsWith(NOT_TRIED) ? "not tried" : "ok") : "problem"} /></td>
            <td class="wide">${one.detail && html`<${Name} text=${one.detail} />`}</td>
            <td class="wide"><${Prose} text=${one.fix} /></td>
          </tr>`)}
        <//>`}
    <//>`;
}

// A GET, but it writes and deletes blobs: it asks like every action.
const diagnose = (show) => ({
  title: "Try everything that sharing needs?",
  text: html`<p>For each route, the app lists the source, writes a small blob to the target and deletes it, lets the service copy a small blob, and sends a
    trial event to each recipient. No route shares these blobs. It can take a minute.</p>`,
  confirm: "Try",
  run: async () => {
    const answer = await get("health/deep", { accept: [503], timeout: LONGEST });
    show(answer);
    return { text: summary(answer.checks) };
  },
});

function summary(checks) {
  const failed = checks.filter((check) => !check.ok).length;
  return failed ? `${failed} of ${some(checks.length, "check")} failed.` : `All ${some(checks.length, "check")} passed.`;
}
