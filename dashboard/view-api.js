// The API: a form for each call, made from the description that the app serves, to try the call.

import { useEffect, useState } from "./preact-hooks-11.2.0.js";
import { get, trial, url } from "./api.js";
import { visible } from "./format.js";
import { ActionButton, Badge, Copy, Failure, Heading, Notice, Polled, Prose, Select, asProblem, go, html, useShared, usePoll } from "./ui.js";

const MOST_SHOWN = 50_000;

export function Api({ parts }) {
  const poll = usePoll(async () => calls(await get("openapi.json")), [], 3_600_000);
  return html`
    <${Heading} title="API" />
    <${Polled} poll=${poll}>
      ${poll.data && html`<${Chosen} calls=${poll.data} id=${parts[0]} />`}
    <//>`;
}

/** Return the calls of a description, with every reference replaced by what it names. Files and HEAD are left out. */
function calls(description) {
  const resolve = (value) => (value?.$ref ? resolve(value.$ref.slice(2).split("/").reduce((at, name) => at[name], description)) : value);
  return Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([method, call]) => method !== "head" && !(call.tags.includes("dashboard")))
      .map(([method, call]) => ({
        id: call.operationId,
        method: method.toUpperCase(),
        path: path.replace("/api/", ""),
        summary: call.summary,
        description: call.description,
        parameters: (call.parameters ?? []).map(resolve).map((each) => ({ ...each, schema: resolve(each.schema) })),
        body: call.requestBody?.content["application/json"].example,
      })),
  );
}

function Chosen({ calls, id }) {
  const call = calls.find((each) => each.id === id) ?? calls[0];
  const names = Object.fromEntries(calls.map((each) => [`${each.method} /api/${each.path}`, each.id]));
  const name = Object.keys(names).find((each) => names[each] === call.id);
  return html`
    <div class="filters"><${Select} label="Call" value=${name} all=${null} raw options=${Object.keys(names)} onChange=${(chosen) => go(["api", names[chosen]])} /></div>
    <p><${Prose} text=${[call.summary, call.description].filter(Boolean).join(". ")} /></p>
    <${Form} key=${call.id} call=${call} />`;
}

function Form({ call }) {
  const { readOnly } = useShared();
  const [values, set] = useState({});
  const [body, setBody] = useState(call.body ? JSON.stringify(call.body, null, 1) : undefined);
  const [answer, show] = useState(null);
  const path = address(call, values);
  const missing = call.parameters.filter((each) => each.required && !values[each.name]).map((each) => each.name);
  useEffect(() => show(null), [path, body]);
  const send = async () => {
    try {
      show(await trial(call.method, path, body));
    } catch (error) {
      show({ problem: asProblem(error) });
    }
  };
  const submit = (event) => {
    event.preventDefault();
    if (call.method === "GET") send();
  };
  return html`<form class="trial" onSubmit=${submit}>
    ${call.parameters.map((each) => html`<${Field} key=${each.name} parameter=${each} value=${values[each.name] ?? ""} onInput=${(value) => set({ ...values, [each.name]: value })} />`)}
    ${body !== undefined && html`<label class="field">Body<textarea rows="8" spellcheck="false" value=${body} onInput=${(event) => setBody(event.target.value)} /></label>`}
    <p class="request"><code>${call.method} ${visible(`/api/${path}`)}</code> <${Copy} text=${curl(call, path, body)} what="curl command" /></p>
    <div class="buttons start">
      ${call.method === "GET"
        ? html`<button type="submit" class="primary" disabled=${missing.length > 0}>Send</button>`
        : html`<${ActionButton} label="Send …" disabled=${missing.length > 0} action=${ask(call, path, body, show)} />`}
      ${missing.length > 0 && html`<span class="muted">Fill in ${missing.join(", ")}.</span>`}
      ${readOnly && call.method !== "GET" && html`<span class="muted">The app is read-only.</span>`}
    </div>
    ${answer && html`<${Answer} answer=${answer} />`}
  </form>`;
}

function Field({ parameter, value, onInput }) {
  const { name, required, description, schema } = parameter;
  if (schema.enum) return html`<${Select} label=${required ? name : `${name} (optional)`} value=${value} all="" raw options=${schema.enum} onChange=${onInput} />`;
  const about = description ?? schema.description;
  return html`<div class="field">
    <label for=${`of-${name}`}>${name}${required ? "" : " (optional)"}</label>
    <input id=${`of-${name}`} aria-describedby=${`about-${name}`} value=${value} required=${required} onInput=${(event) => onInput(event.target.value)} />
    <span id=${`about-${name}`} class="muted"><${Prose} text=${about} /></span>
  </div>`;
}

function Answer({ answer }) {
  if (answer.problem) return html`<${Failure} problem=${answer.problem} />`;
  const { status, text, type } = answer;
  const shown = type.includes("json") ? pretty(text) : text;
  return html`<section aria-label="Answer">
    <h2>Answer <${Badge} value=${status < 400 ? "ok" : "problem"} text=${String(status)} /></h2>
    ${shown.length > MOST_SHOWN && html`<${Notice} kind="plain">The first ${MOST_SHOWN} of ${shown.length} characters.<//>`}
    ${shown ? html`<pre class="answer" tabindex="0">${lines(shown.slice(0, MOST_SHOWN))}</pre>` : html`<p class="muted">Without a body.</p>`}
  </section>`;
}

const ask = (call, path, body, show) => ({
  title: `Send ${call.method} /api/${call.path}?`,
  text: html`<p><${Prose} text=${`${call.summary}.`} /></p><pre class="answer">${call.method} ${visible(`/api/${path}`)}${body === undefined ? "" : `\n\n${lines(body)}`}</pre>`,
  confirm: "Send",
  danger: call.method === "DELETE",
  run: async () => {
    const answer = await trial(call.method, path, body);
    show(answer);
    return { text: `The API answered ${answer.status}.` };
  },
});

function address(call, values) {
  const path = call.path.replace(/{(\w+)}/g, (whole, name) => (values[name] ? encodeURIComponent(values[name]) : whole));
  return url(path, Object.fromEntries(call.parameters.filter((each) => each.in === "query").map((each) => [each.name, values[each.name]])));
}

// Single quotes keep a shell from reading anything in a text; one in the text itself needs an escape.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(call, path, body) {
  const parts = ["curl", "-X", call.method, "-H", '"x-functions-key: $KEY"'];
  if (body !== undefined) parts.push("-H", quoted("Content-Type: application/json"), "-d", quoted(body));
  return [...parts, quoted(new URL(path, new URL("./", location.href)).href)].join(" ");
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}

// Line breaks stay; every other hidden character shows as its code.
const lines = (text) => text.split("\n").map(visible).join("\n");
