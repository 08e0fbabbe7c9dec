// Charts with uPlot, which draws on a canvas. Each has the same figures as a table for those who cannot see it.

import { useEffect, useRef } from "./preact-hooks-11.2.0.js";
import { bytes, count, seconds, time } from "./format.js";
import { html } from "./ui.js";

const HEIGHT = 180;
const SLOT = 300;
const PERCENTILES = ["p50", "p95", "p99"];
const COLOURS = ["--accent", "--second", "--bad"];
// More routes than this do not fit beside each other.
const MAX_ROUTES = 12;
// Distances between the labels of bytes: 1 B, 2 B, 4 B …
const STEPS = Array.from({ length: 60 }, (_, power) => 2 ** power);
// Lines of the logarithmic axis of seconds, about ten times as far as the one before, with their labels.
const LINES = [[0.001, "1 ms"], [0.01, "10 ms"], [0.1, "100 ms"], [1, "1 s"], [10, "10 s"], [60, "1 min"], [600, "10 min"], [3600, "1 h"], [36000, "10 h"], [432000, "5 d"], [4320000, "50 d"]];
// Distances between the labels of counts: no fractions.
const COUNTS = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
const LETTER = 7; // pixels, about

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draw a chart in an element, again when its width or the colour scheme changes. `options` gets a function for colours, and the width. */
function Chart({ label, keys, options, data, children }) {
  const box = useRef(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined; // the view was left before it was drawn
    let chart;
    const draw = () => {
      const width = element.clientWidth;
      if (!width || chart?.width === width) return;
      chart?.destroy();
      chart = new uPlot({ width, height: HEIGHT, ...options(colour, width) }, data, element);
    };
    const redraw = () => {
      chart?.destroy();
      chart = undefined;
      draw();
    };
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const observer = new ResizeObserver(draw);
    draw();
    observer.observe(element);
    scheme.addEventListener("change", redraw);
    return () => {
      observer.disconnect();
      scheme.removeEventListener("change", redraw);
      chart?.destroy();
    };
  }, [JSON.stringify(data)]);
  return html`<figure>
    <figcaption>${label}<span class="keys">${keys.map(([name, text]) => html`<span class=${`key ${name.slice(2)}`}>${text}</span> `)}</span></figcaption>
    <div class="chart" ref=${box} role="img" aria-label=${`${label}; the same figures follow as a table`} />
    <details><summary>Figures</summary><div class="figures">${children}</div></details>
  </figure>`;
}

const axis = (colours, more) => ({
  stroke: colours("--muted"),
  grid: { stroke: colours("--line"), width: 1 },
  ticks: { stroke: colours("--line"), width: 1 },
  font: "11px system-ui, sans-serif",
  ...more,
});

const fromZero = (_, __, max) => [0, 1.08 * max || 1];

/** Transfers and bytes per five minutes of the last day. Slots without transfers are left out of `slots`. */
export function Throughput({ slots }) {
  if (!slots.length) return html`<${Nothing} label="Throughput of the last day" text="No transfer was verified." />`;
  const filled = fill(slots);
  const options = (colours) => ({
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true }, count: { range: fromZero }, bytes: { range: fromZero } },
    axes: [
      axis(colours, { space: 60, size: 32, values: (_, ticks) => ticks.map((at) => time(new Date(at * 1000)).slice(-8, -3)) }),
      axis(colours, { scale: "count", size: 44, stroke: colours("--accent"), incrs: COUNTS, values: (_, ticks) => ticks.map(count) }),
      axis(colours, { scale: "bytes", side: 1, size: 62, space: 32, stroke: colours("--second"), incrs: STEPS, grid: { show: false }, values: (_, ticks) => ticks.map(bytes) }),
    ],
    series: [
      {},
      { scale: "count", stroke: colours("--accent"), fill: colours("--accent-soft"), width: 1, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
      { scale: "bytes", stroke: colours("--second"), width: 1.5, points: { show: false } },
    ],
  });
  const data = [filled.map((slot) => slot.at), filled.map((slot) => slot.transfers), filled.map((slot) => slot.bytes)];
  return html`<${Chart} label="Throughput of the last day, per 5 minutes" keys=${[["--accent", "transfers"], ["--second", "bytes"]]} options=${options} data=${data}>
    <table>
      <thead><tr><th scope="col">Time</th><th scope="col" class="number">Transfers</th><th scope="col" class="number">Bytes</th></tr></thead>
      <tbody>${slots.slice(-48).reverse().map((slot) => html`<tr><td>${time(slot.at)}</td><td class="number">${count(slot.transfers)}</td><td class="number">${bytes(slot.bytes)}</td></tr>`)}</tbody>
    </table>
  <//>`;
}

function fill(slots) {
  const known = new Map(slots.map((slot) => [SLOT * Math.floor(new Date(slot.at) / 1000 / SLOT), slot]));
  if (!known.size) return [];
  const found = [];
  for (let at = Math.min(...known.keys()); at <= Math.max(...known.keys()); at += SLOT) {
    found.push({ at, transfers: known.get(at)?.transfers ?? 0, bytes: known.get(at)?.bytes ?? 0 });
  }
  return found;
}

/** Percentiles of the last day, as three dots above each route. */
export function Latency({ routes }) {
  const shown = routes.filter((route) => route.latency.day.count).sort((a, b) => b.latency.day.p99 - a.latency.day.p99).slice(0, MAX_ROUTES);
  // From the line below the fastest to the line above the slowest.
  const low = LINES.findLast(([line]) => line <= Math.min(...shown.map((route) => route.latency.day.p50))) ?? LINES[0];
  const high = LINES.find(([line]) => line >= Math.max(...shown.map((route) => route.latency.day.p99))) ?? LINES.at(-1);
  const lines = LINES.filter(([line]) => line >= low[0] && line <= high[0]);
  const options = (colours, width) => ({
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, range: [-0.6, shown.length - 0.4] }, y: { distr: 3, range: [low[0], high[0]] } },
    axes: [
      axis(colours, {
        splits: () => shown.map((_, index) => index),
        values: () => shown.map(({ route }) => shortened(route, shown.length > 4 ? 14 : (width - 52) / shown.length / LETTER)),
        grid: { show: false },
        rotate: shown.length > 4 ? -30 : 0,
        size: shown.length > 4 ? 56 : 32,
      }),
      axis(colours, { size: 56, splits: () => lines.map(([line]) => line), filter: (_, splits) => splits, values: () => lines.map(([, text]) => text) }),
    ],
    series: [
      {},
      ...COLOURS.map((name) => ({
        stroke: colours(name),
        paths: () => null,
        points: { show: true, size: 9, fill: colours(name), stroke: colours(name) },
      })),
    ],
  });
  const data = [shown.map((_, index) => index), ...PERCENTILES.map((name) => shown.map((route) => Math.max(route.latency.day[name], 0.001)))];
  if (!shown.length) return html`<${Nothing} label="Latency of the last day" text="No transfer was verified." />`;
  return html`<${Chart} label="Latency of the last day" keys=${COLOURS.map((name, index) => [name, PERCENTILES[index]])} options=${options} data=${data}>
    <table>
      <thead><tr><th scope="col">Route</th>${PERCENTILES.map((name) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead>
      <tbody>${shown.map((route) => html`<tr><td>${route.route}</td>${PERCENTILES.map((name) => html`<td class="number">${seconds(route.latency.day[name])}</td>`)}</tr>`)}</tbody>
    </table>
  <//>`;
}

function shortened(text, room) {
  return text.length > room ? `${text.slice(0, Math.max(3, Math.floor(room) - 1))}…` : text;
}

function Nothing({ label, text }) {
  return html`<figure><figcaption>${label}</figcaption><p class="muted empty">${text}</p></figure>`;
}
