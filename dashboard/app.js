// The frame around the views: navigation, health, the function key, the dialogs and the announcements.

import { render } from "./preact-11.2.0.js";
import { useEffect, useRef, useState } from "./preact-hooks-11.2.0.js";
import { get, key, onRefused, setKey } from "./api.js";
import { ActionDialog, Badge, Dialog, html, link, place, pollAgain, say, share, usePoll, useShared } from "./ui.js";
import { Api } from "./view-api.js";
import { DeadLetter, DeadLetters } from "./view-dead-letters.js";
import { Health } from "./view-health.js";
import { Job, Jobs } from "./view-jobs.js";
import { Ledger } from "./view-ledger.js";
import { Overview } from "./view-overview.js";
import { Transfer } from "./view-transfer.js";
import { Transfers } from "./view-transfers.js";

const VIEWS = [
  ["", "Overview", Overview],
  ["transfers", "Transfers", Transfers, Transfer],
  ["dead-letters", "Dead letters", DeadLetters, DeadLetter],
  ["jobs", "Jobs", Jobs, Job],
  ["ledger", "Ledger", Ledger],
  ["health", "Health", Health],
  ["api", "API", Api, Api],
];
// The health check is cached for 10 s.
const HEALTH = 10_000;
const ROUTE = /^source of route (.+)$/;
// The key (null: none) that was refused when the page last asked for one.
let askedAfter;

function App() {
  const { readOnly, asking, said, health } = useShared();
  const [at, move] = useState(place());
  useEffect(() => {
    const moved = () => move(place());
    window.addEventListener("hashchange", moved);
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  const checked = usePoll(() => get("health", { accept: [503] }), [], HEALTH);
  useEffect(() => {
    if (checked.data) {
      const routes = checked.data.checks.map((check) => ROUTE.exec(check.name)?.[1]).filter(Boolean);
      share({ health: checked.data, readOnly: checked.data.read_only === true, routes });
    }
  }, [checked.data]);
  const [name, ...rest] = at.parts;
  const [path, title, All, One] = VIEWS.find(([path]) => path === (name ?? "")) ?? VIEWS[0];
  const View = rest.length && One ? One : All;
  const where = at.parts.join("/");
  const first = useRef(true);
  useEffect(() => {
    document.title = `${title} – Blob Data Sharing`;
    // A reader hears the new view. The first view needs no focus: the reader starts at the top.
    if (!first.current) document.querySelector("main h1")?.focus();
    first.current = false;
  }, [where]);
  const skip = (event) => {
    event.preventDefault(); // the address after # is the view
    document.querySelector("#main").focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="bar">
      <div class="brand">Blob Data Sharing</div>
      <nav aria-label="Views">
        ${VIEWS.map(([each, text]) => html`<a href=${link(each ? [each] : [])} aria-current=${each === path ? "page" : undefined}>${text}</a>`)}
      </nav>
      <div class="state">
        ${readOnly && html`<${Badge} value="paused" text="read-only" />`}
        <a class="plain-link" href=${link(["health"])} aria-label=${`Health: ${healthWord(checked)}`}><${Badge} value=${healthKind(checked)} text=${healthWord(checked)} /></a>
        ${key() !== null && html`<button type="button" class="small" onClick=${forget}>Forget key</button>`}
      </div>
    </header>
    <main id="main" tabindex="-1"><${View} key=${where} parts=${rest} query=${at.query} poll=${path === "health" ? checked : undefined} /></main>
    <footer class="muted">${health ? `Version ${health.version}. ` : ""}<a href="dashboard/licences.txt">Licences of the libraries</a></footer>
    <div class="announcement" role="status" aria-live="polite">${said}</div>
    <${ActionDialog} />
    ${asking !== null && html`<${KeyDialog} problem=${asking} />`}
  `;
}

function healthWord({ data, error }) {
  if (error) return "unknown";
  return data === null ? "checking" : data.up ? "healthy" : "unhealthy";
}

function healthKind(checked) {
  return { healthy: "ok", unhealthy: "problem" }[healthWord(checked)] ?? "plain";
}

function forget() {
  setKey(null);
  askedAfter = undefined;
  say("The key is forgotten");
  share({});
  pollAgain();
}

function KeyDialog({ problem }) {
  const [value, set] = useState("");
  const close = () => share({ asking: null });
  const submit = (event) => {
    event.preventDefault();
    // A header takes visible ASCII only.
    const given = value.trim();
    if (!/^[\x21-\x7e]+$/.test(given)) {
      share({ asking: "A key consists of letters, digits and signs, without spaces." });
      return;
    }
    setKey(given);
    close();
    pollAgain();
  };
  return html`<${Dialog} label="Function key" onClose=${close}>
    <h2>Function key</h2>
    <form onSubmit=${submit}>
      ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
      <p>The API needs a function key of the app. The page keeps it in this tab until you close it, and sends it to this site only.</p>
      <label class="field">Key
        <input type="password" autocomplete="off" autofocus required value=${value} onInput=${(event) => set(event.target.value)} />
      </label>
      <div class="buttons">
        <button type="button" onClick=${close}>Not now</button>
        <button type="submit" class="primary">Use key</button>
      </div>
    </form>
  <//>`;
}

onRefused((sent) => {
  if (askedAfter === key()) return; // asked already; the button in the notice asks again
  askedAfter = key();
  share({ asking: sent ? "The API did not accept this key." : "" });
});

const root = document.querySelector("#app");
root.replaceChildren();
render(html`<${App} />`, root);
