// Health: each check, and how to fix it.

import { useState } from "./preact-hooks-11.2.0.js";
import { get } from "./api.js";
import { some } from "./format.js";
import { Badge, Heading, Name, Notice, Polled, Table, asProblem, Failure, html, say } from "./ui.js";

export function Health({ poll }) {
  const [deep, set] = useState(null);
  const { data } = poll ?? { data: null };
  if (!poll) return null;
  const check = async () => {
    set({ running: true });
    try {
      const answer = await get("health?deep=1", { accept: [503] });
      set({ answer });
      say(summary(answer.checks));
    } catch (error) {
      set({ problem: asProblem(error) });
    }
  };
  const shown = deep?.answer ?? data;
  return html`
    <${Heading} title="Health">
      <button type="button" disabled=${deep?.running} onClick=${check}>${deep?.running ? "Checking …" : "Check all routes now"}</button>
      ${deep?.answer && html`<button type="button" onClick=${() => set(null)}>Show the short check</button>`}
    <//>
    ${deep?.problem && html`<${Failure} problem=${deep.problem} />`}
    <${Polled} poll=${poll}>
      ${shown && html`<${Notice} kind=${shown.up ? "good" : "bad"}>${summary(shown.checks)}<//>
        <${Table} label="Checks" heads=${["Check", "Result", "Detail", "Fix"]}>
          ${shown.checks.toSorted((a, b) => a.ok - b.ok).map((one) => html`<tr key=${one.name}>
            <th scope="row">${one.name}</th>
            <td><${Badge} value=${one.ok ? "ok" : "problem"} /></td>
            <td class="wide">${one.detail && html`<${Name} text=${one.detail} />`}</td>
            <td class="wide">${one.fix}</td>
          </tr>`)}
        <//>`}
    <//>`;
}

function summary(checks) {
  const failed = checks.filter((check) => !check.ok).length;
  return failed ? `${failed} of ${some(checks.length, "check")} failed.` : `All ${some(checks.length, "check")} passed.`;
}
