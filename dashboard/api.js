// Calls of the API: same origin only, the key in a header only, answers as data or as a Problem with its fix.

const KEY = "functions-key";
// The page is at …/api/dashboard, also behind an ingress that changes the prefix.
const BASE = new URL("./", location.href.split("#")[0].split("?")[0]).href;
// A search by name takes up to 20 s; the trials of all routes may take longer.
const READ_TIMEOUT = 90_000;
// A cancel waits up to 30 s until the transfer has noticed it.
const WRITE_TIMEOUT = 90_000;

let kept = null; // where session storage is not available
let refused = () => {};

/** Call `listener` when the API answers 401 to the current key, or to none. */
export function onRefused(listener) {
  refused = listener;
}

export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? kept;
  } catch {
    return kept;
  }
}

export function setKey(value) {
  kept = value;
  seen.clear(); // the next key may see other things
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // It stays in memory until the tab closes.
  }
}

/** An unsuccessful answer, or none: `status` is then 0. */
export class Problem extends Error {
  constructor(status, title, detail, fix, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { status, title, detail, fix, retryAfter });
  }
}

// The last answer of each URL that had an ETag.
const seen = new Map();

/** Return the JSON of a GET. With `accept`, answers of these statuses are data too. `timeout` is in milliseconds. */
export async function get(path, { accept = [], timeout = READ_TIMEOUT } = {}) {
  const known = seen.get(path);
  const answer = await send("GET", path, { headers: known ? { "If-None-Match": known.etag } : {}, timeout });
  if (answer.status === 304 && known) return known.body;
  const body = await read(answer, accept);
  const etag = answer.headers.get("ETag");
  if (etag) seen.set(path, { etag, body });
  return body;
}

/** Send a POST or DELETE, and return its JSON. It is never repeated by itself. */
export async function change(method, path, body) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return read(await send(method, path, { ...sent, timeout: WRITE_TIMEOUT }), []);
}

/** Send a call as it was typed, and return its status, media type and text. */
export async function trial(method, path, body) {
  const sent = body === undefined ? {} : { body, headers: { "Content-Type": "application/json" } };
  const answer = await send(method, path, { ...sent, timeout: WRITE_TIMEOUT });
  return { status: answer.status, type: answer.headers.get("Content-Type") ?? "", text: await answer.text() };
}

/** Return a path with a query. Parameters without a value are left out. */
export function url(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

async function send(method, path, { headers = {}, body, timeout }) {
  const own = key();
  try {
    const answer = await fetch(BASE + path, {
      method,
      body,
      headers: own ? { ...headers, "x-functions-key": own } : headers,
      cache: "no-store",
      // The key must not follow a redirect to another site, for example to a sign-in.
      redirect: "error",
      signal: AbortSignal.timeout(timeout),
    });
    if (answer.status === 401 && own === key()) refused(own !== null);
    return answer;
  } catch (error) {
    const slow = error.name === "TimeoutError";
    throw new Problem(
      0,
      slow ? "No answer" : "The API cannot be reached",
      slow ? `The API did not answer within ${timeout / 1000} s.` : "The request failed before the API answered.",
      "Check the network and that the app runs. If you signed in with Entra ID, reload the page to sign in again.",
    );
  }
}

async function read(answer, accept) {
  const body = await answer.json().catch(() => null);
  if ((answer.ok || accept.includes(answer.status)) && body !== null) return body;
  const retry = Number(answer.headers.get("Retry-After")) || null;
  const known = FIXES[answer.status] ?? ["Unexpected answer", "Search the app's log."];
  throw new Problem(
    answer.status,
    body?.title ?? known[0],
    body?.detail ?? `${known[0]} (${answer.status}).`,
    body?.fix ?? (answer.headers.has("WWW-Authenticate") ? "Reload the page to sign in again, or enter a key." : known[1]),
    retry,
  );
}

// Answers that the host or a proxy gives without a problem body.
const FIXES = {
  401: ["The API needs a function key", "Enter a function key of the app."],
  403: ["Not allowed", "Use another key, or ask the operator of the app."],
  404: ["This version of the API does not have this", "Update the app to use this view."],
  429: ["Too many requests", "Wait; the page tries again by itself."],
  502: ["The app does not answer", "Wait; the page tries again by itself."],
  503: ["The app does not answer", "Wait; the page tries again by itself."],
};
