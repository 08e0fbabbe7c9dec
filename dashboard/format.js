// Texts for numbers, times and names. A name comes from whoever writes the source container, so it is hostile.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
// What a reader cannot see, or what changes the order in which he sees the rest: controls, joiners and other format
// characters, fillers, line separators, variation selectors, private use and lone surrogates.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u00a0\u034f\u115f\u1160\u17b4\u17b5\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]/u;
const PIECES = new RegExp(`(${HIDDEN.source})`, "u");

const code = (char) => `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** Return the pieces of a text; of a hidden character, its code. */
export function pieces(text) {
  return String(text)
    .split(PIECES)
    .filter((part) => part !== "")
    .map((part) => (HIDDEN.test(part) ? { hidden: code(part) } : { text: part }));
}

/** Return a text in which every hidden character is visible as its code. */
export function visible(text) {
  return pieces(text ?? "").map((part) => (part.hidden ? `[${part.hidden}]` : part.text)).join("");
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export function count(number) {
  return number === null || number === undefined ? "–" : number.toLocaleString("en");
}

/** Return "1 blob", "2 blobs". */
export function some(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${Math.max(1, Math.round(value * 1000))} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 100) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  if (value < 129600) return `${(value / 3600).toFixed(1)} h`;
  return `${(value / 86400).toFixed(1)} d`;
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(Math.floor(share * 10 ** (digits + 2)) / 10 ** digits).toFixed(digits)} %`;
}

const two = (number) => String(number).padStart(2, "0");

/** Return a time in the reader's time zone; the day only if it is not today. */
export function time(text, now = new Date()) {
  const at = new Date(text);
  if (!text || Number.isNaN(at.getTime())) return "–";
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return at.toDateString() === now.toDateString() ? clock : `${day} ${clock}`;
}

export function utc(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export function ago(text, now = Date.now()) {
  return text ? `${seconds(Math.max(0, (now - new Date(text)) / 1000))} ago` : "–";
}

/** Return a word of the API for people: `dead_lettered` → "dead lettered". */
export function words(value) {
  return visible(value ?? "").replaceAll("_", " ");
}

/** Return items as CSV. A spreadsheet runs a cell that begins with one of these characters, so it gets an apostrophe. */
export function csv(items, columns) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  return [columns, ...items.map((item) => columns.map((name) => item[name]))].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
