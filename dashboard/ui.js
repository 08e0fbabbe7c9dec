// What all views share: polling, navigation, notices, small components and the dialog of an action.

import { createElement } from "./preact-11.2.0.js";
import { useEffect, useLayoutEffect, useRef, useState } from "./preact-hooks-11.2.0.js";
import htm from "./htm-3.1.1.js";
import { Problem } from "./api.js";
import { pieces, time, utc, visible, words } from "./format.js";

// Every text becomes a text node; no component uses innerHTML.
export const html = htm.bind(createElement);

// --- Shared state: what every view may need, and a way to hear of its changes.

export const shared = { health: null, readOnly: false, routes: [], asking: null, action: null, said: "" };
const listeners = new Set();

export function share(changes) {
  Object.assign(shared, changes);
  for (const listener of [...listeners]) listener();
}

export function useShared() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((number) => number + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return shared;
}

/** Announce a text to a screen reader. */
export function say(text) {
  share({ said: text });
}

// --- Navigation: everything after # is a path and a query.

export function place() {
  const [path, text] = location.hash.replace(/^#\/?/, "").split("?");
  const query = Object.fromEntries(new URLSearchParams(text));
  // An address may come from anyone, and these are shown. A name has its own component.
  for (const [name, form] of Object.entries(FORMS)) if (name in query && !form.test(query[name])) delete query[name];
  return { parts: path.split("/").filter(Boolean).map(decode), query };
}

const FORMS = { route: /^[A-Za-z0-9-]{1,40}$/, state: /^[a-z_]{1,20}$/, day: /^\d{4}-\d\d-\d\d$/ };

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function link(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  return `#/${parts.map(encodeURIComponent).join("/")}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

export function go(parts, query) {
  location.hash = link(parts, query);
}

// --- Polling

const SHORTEST = 2_000;
const LONGEST = 30_000;
const SLOW = 4_000;
const AGAIN = "poll-again";

/** Make every poll ask now: after an action, or with another key. */
export function pollAgain() {
  window.dispatchEvent(new Event(AGAIN));
}

/**
 * Call `load` again and again: every 2 s while its result changes, up to every 30 s while it does not, and not at all in a
 * hidden tab. After an error, the last result stays as `data`, and `error` says why it is stale. `load` gets a function that
 * tells whether its result is still wanted.
 */
export function usePoll(load, deps, shortest = SHORTEST) {
  const empty = { data: null, error: null, at: null, slow: false };
  const [state, set] = useState(empty);
  const current = useRef(load);
  current.current = load;
  useEffect(() => {
    let live = true;
    let timer = 0;
    let running = false;
    let again = false;
    let pause = shortest;
    let last = null;
    set(empty);
    const tick = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      if (running) {
        again = true;
        return;
      }
      running = true;
      const slow = setTimeout(() => live && set((was) => ({ ...was, slow: true })), SLOW);
      let wait;
      try {
        const data = await current.current(() => live);
        const text = JSON.stringify(data);
        pause = text === last ? Math.min(pause * 1.6, LONGEST) : shortest;
        wait = pause;
        if (live) set((was) => ({ data: text === last ? was.data : data, error: null, at: Date.now(), slow: false }));
        last = text;
      } catch (error) {
        const problem = asProblem(error);
        pause = Math.min(Math.max(2 * pause, 2 * SHORTEST), LONGEST);
        wait = Math.max(pause, (problem.retryAfter ?? 0) * 1000);
        // Without another key, the answer to a repetition is the same.
        if (problem.status === 401) wait = null;
        if (live) set((was) => ({ ...was, error: problem, slow: false }));
      }
      clearTimeout(slow);
      running = false;
      if (!live) return;
      if (again) {
        again = false;
        tick();
      } else if (wait !== null) timer = setTimeout(tick, wait);
    };
    const now = () => {
      pause = shortest;
      tick();
    };
    tick();
    window.addEventListener(AGAIN, now);
    document.addEventListener("visibilitychange", now);
    return () => {
      live = false;
      clearTimeout(timer);
      window.removeEventListener(AGAIN, now);
      document.removeEventListener("visibilitychange", now);
    };
  }, deps);
  return state;
}

export function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem(0, "The page failed", "The page could not show the answer.", "Reload the page.");
}

/** Show the children if there is data, and above them whether it is stale or slow to come. */
export function Polled({ poll, children }) {
  const { data, error, at, slow } = poll;
  if (error && data === null) return html`<${Failure} problem=${error} />`;
  return html`
    ${error && html`<${Notice} kind="warn"><strong>Stale: as of ${time(at)}.</strong> <${Explained} problem=${error} /><//>`}
    ${!error && slow && html`<${Notice} kind="warn">The API is slow to answer.${at ? ` Shown as of ${time(at)}.` : ""}<//>`}
    ${data === null ? html`<p class="muted">Loading …</p>` : html`<div class=${error ? "stale" : ""}>${children}</div>`}
  `;
}

function Explained({ problem }) {
  return html`<span class="text">${visible(problem.detail || problem.title)}</span> <span class="text"><${Prose} text=${problem.fix} /></span>${" "}
    ${problem.status === 401 && html`<button type="button" onClick=${() => share({ asking: "" })}>Enter key</button>`}`;
}

export function Failure({ problem }) {
  const said = problem.detail?.startsWith(problem.title);
  return html`<${Notice} kind="bad">${!said && html`<strong>${visible(problem.title)}.</strong> `}<${Explained} problem=${problem} /><//>`;
}

export function Notice({ kind, children }) {
  return html`<div class=${`notice ${kind}`} role="status">${children}</div>`;
}

// --- Small components

export function Heading({ title, children }) {
  return html`<div class="heading"><h1 tabindex="-1">${title}</h1>${children}</div>`;
}

/** A name or other text from outside, with every hidden character shown as its code, in its own direction. */
export function Name({ text, short }) {
  if (text === null || text === undefined) return html`<span class="muted">–</span>`;
  const shown = pieces(text).map((part) =>
    part.hidden ? html`<span class="hidden-char" title=${`hidden character ${part.hidden}`}>${part.hidden}</span>` : part.text,
  );
  return html`<bdi class=${short ? "name short" : "name"} title=${short ? visible(text) : undefined}>${shown}</bdi>`;
}

/** A text of the app for people, in which `backticks` mark code. */
export function Prose({ text }) {
  return visible(text ?? "").split("`").map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));
}

export function Time({ at }) {
  return at ? html`<time datetime=${at} title=${utc(at)}>${time(at)}</time>` : html`<span class="muted">–</span>`;
}

const KINDS = {
  verified: "good", done: "good", active: "good", ok: "good", met: "good", resolved: "good",
  copying: "busy", accepted: "busy", running: "busy",
  dead_lettered: "bad", failed: "bad", open: "bad", missed: "bad", problem: "bad",
  paused: "warn", over_budget: "warn", cancelling: "warn", stale: "warn",
};

export function Badge({ value, text }) {
  return html`<span class=${`badge ${KINDS[value] ?? "plain"}`}>${text ?? words(value)}</span>`;
}

export function Copy({ text, what }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(`${what} copied`);
    } catch {
      say(`The browser does not allow to copy the ${what}`);
    }
  };
  return html`<button type="button" class="small quiet" onClick=${copy} aria-label=${`Copy ${what}`} title=${`Copy ${what}`}>Copy</button>`;
}

/** A table that scrolls on its own where the window is narrow. It takes the focus, so that the arrow keys scroll it. */
export function Table({ label, heads, children, empty = "Nothing here." }) {
  const rows = [children].flat(Infinity).filter(Boolean);
  const box = useRef(null);
  // Where the window is narrow, each row is a card, and each cell shows its head.
  useLayoutEffect(() => {
    for (const row of box.current?.querySelectorAll("tbody tr") ?? []) {
      [...row.cells].forEach((cell, index) => { cell.dataset.head = heads[index]?.text ?? heads[index] ?? ""; });
    }
  });
  if (!rows.length) return html`<p class="muted empty">${empty}</p>`;
  return html`<div class="scroll" role="region" aria-label=${label} tabindex="0" ref=${box}>
    <table>
      <thead><tr>${heads.map((head) => html`<th scope="col" class=${head.number ? "number" : ""}>${head.text ?? head}</th>`)}</tr></thead>
      <tbody>${rows}</tbody>
    </table>
  </div>`;
}

export function Facts({ rows }) {
  return html`<dl class="facts">
    ${rows.filter(Boolean).map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

export function Select({ label, value, options, onChange, all = "all", raw }) {
  return html`<label class="field">${label}
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${all !== null && html`<option value="">${all}</option>`}
      ${options.map((option) => html`<option value=${option} selected=${option === value}>${raw ? option : words(option)}</option>`)}
    </select>
  </label>`;
}

/** Give a text to the browser as a file. */
export function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const anchor = Object.assign(document.createElement("a"), { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// --- Actions

/**
 * A button that asks before it acts. `action` has `title`, `text` (what will happen), `confirm` (the word on the button), `run`
 * (does it, and returns what came of it), and may have `plan` (a dry run, which returns more text) and `danger`. `about` tells
 * buttons with one label apart.
 */
export function ActionButton({ label, about, action, disabled, quiet, onDone }) {
  const { readOnly } = useShared();
  if (readOnly) return null;
  const open = (event) => share({ action: { ...action, onDone, opener: event.currentTarget } });
  const kind = [action.danger ? "danger" : "", quiet ? "small" : ""].join(" ");
  return html`<button type="button" class=${kind} disabled=${disabled} onClick=${open} aria-label=${about && `${label} ${about}`}>${label}</button>`;
}

/** Focus an element, or the main part if it is gone. The next answer may remove it: its dead letter was replayed. */
function returnFocus(to) {
  const main = document.querySelector("#main");
  if (!to?.isConnected || to.disabled || to === document.body) {
    main.focus();
    return;
  }
  to.focus();
  const removal = new MutationObserver(() => {
    if (document.activeElement === to) return;
    removal.disconnect();
    if (document.activeElement === document.body) main.focus();
  });
  removal.observe(main, { childList: true, subtree: true });
}

/** Show a modal dialog while it is mounted, and then return the focus to where it was. `onGone`: the browser closed it anyway. */
export function Dialog({ label, opener, onClose, onGone = onClose, children }) {
  const dialog = useRef(null);
  useLayoutEffect(() => {
    const before = opener ?? document.activeElement;
    dialog.current.showModal();
    return () => {
      // The opener may be gone, for example with the row of a dead letter that was discarded, or be disabled now.
      setTimeout(() => {
        returnFocus(before);
      });
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${dialog} aria-label=${label} onCancel=${cancel} onClose=${onGone}>${children}</dialog>`;
}

export function ActionDialog() {
  const { action } = useShared();
  return action && html`<${OneAction} key=${action.title} action=${action} />`;
}

function OneAction({ action }) {
  const [step, set] = useState({ name: action.plan ? "planning" : "ask" });
  const live = useRef(true);
  const buttons = useRef(null);
  const close = () => share({ action: null });
  const report = (text) => live.current && set((was) => ({ ...was, progress: text }));
  useEffect(() => {
    if (action.plan) {
      action.plan(report, () => live.current).then(
        (plan) => live.current && set({ name: "ask", plan }),
        (error) => live.current && set({ name: "failed", problem: asProblem(error), planned: false }),
      );
    }
    return () => {
      live.current = false;
    };
  }, []);
  // The button that was pressed is gone or disabled then.
  useEffect(() => {
    if (step.name === "done" || step.name === "failed") buttons.current.querySelector("button:enabled").focus();
  }, [step.name]);
  const run = async () => {
    set({ ...step, name: "working" });
    try {
      const result = await action.run(report);
      say(result.text);
      set({ name: "done", result });
      action.onDone?.();
    } catch (error) {
      const problem = asProblem(error);
      say(`Failed: ${visible(problem.detail)}`);
      set({ name: "failed", problem, planned: true });
    }
    pollAgain();
  };
  const busy = step.name === "planning" || step.name === "working";
  return html`<${Dialog} label=${action.title} opener=${action.opener} onClose=${() => step.name !== "working" && close()} onGone=${close}>
    <h2>${action.title}</h2>
    <div class="dialog-text">
      ${step.name !== "done" && action.text}
      ${step.plan && html`<div class="plan">${step.plan}</div>`}
      ${step.name === "done" && html`<${Notice} kind="good">${step.result.text} ${step.result.more}<//>`}
      ${step.name === "failed" && html`<${Failure} problem=${step.problem} />`}
      ${busy && html`<p class="muted"><progress aria-label="Working" /> ${step.progress ?? (step.name === "planning" ? "Dry run …" : "Working …")}</p>`}
    </div>
    <div class="buttons" ref=${buttons}>
      ${step.name === "done"
        ? html`<button type="button" autofocus onClick=${close}>Close</button>`
        : html`<button type="button" autofocus disabled=${step.name === "working"} onClick=${close}>Cancel</button>
            <button type="button" class=${action.danger ? "danger primary" : "primary"} disabled=${busy || (step.name === "failed" && !step.planned)} onClick=${run}>
              ${step.name === "failed" ? "Try again" : action.confirm}
            </button>`}
    </div>
  <//>`;
}
