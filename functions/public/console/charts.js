// @ts-check
/** Charts by uPlot, in the page's colours. Each has a table that says the same beside it. */

import { fill, h } from "./dom.js";

const uPlot = /** @type {typeof import("uplot")} */ (Reflect.get(globalThis, "uPlot"));

const HEIGHT = 220;
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** @typedef {Record<"managed" | "byok" | "line" | "muted" | "grid" | "band" | "limit", string>} Colours */

/** @returns {Colours} */
function colours() {
  const style = getComputedStyle(document.documentElement);
  const named = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return {
    managed: named("managed"),
    byok: named("byok"),
    line: named("accent"),
    muted: named("muted"),
    grid: named("rule"),
    band: named("band"),
    limit: named("bad"),
  };
}

/**
 * Draw a chart that keeps to its container's width and to the colour scheme.
 * @param {string} label what the chart shows, in a sentence
 * @param {import("uplot").AlignedData} data
 * @param {(colours: Colours) => Partial<import("uplot").Options>} options
 * @param {(index: number | null) => string} readout what stands below it, at the pointer
 */
function chart(label, data, options, readout) {
  const host = h("div", { className: "chart", role: "img", "aria-label": label });
  const below = h("p", { className: "readout", "aria-hidden": "true" }, readout(null));
  /** @type {import("uplot") | undefined} */
  let plot;
  const draw = () => {
    plot?.destroy();
    const width = Math.max(host.clientWidth, 200);
    plot = new uPlot(
      /** @type {import("uplot").Options} */ ({
        width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        hooks: {
          setCursor: [
            (/** @type {import("uplot")} */ u) => fill(below, readout(u.cursor.idx ?? null)),
          ],
        },
        ...options(colours()),
      }),
      data,
      host,
    );
  };
  const resized = new ResizeObserver(() => {
    if (plot === undefined) draw();
    else plot.setSize({ width: Math.max(host.clientWidth, 200), height: HEIGHT });
  });
  resized.observe(host);
  DARK.addEventListener("change", function redraw() {
    if (host.isConnected) draw();
    else DARK.removeEventListener("change", redraw);
  });
  return h("div", {}, host, below);
}

/**
 * @param {Colours} colour
 * @param {string[]} labels of the positions 0, 1, 2, …
 * @returns {import("uplot").Axis[]}
 */
function axes(colour, labels) {
  const common = {
    stroke: colour.muted,
    font: "12px system-ui, sans-serif",
    ticks: { show: false },
  };
  return [
    {
      ...common,
      grid: { show: false },
      size: 30,
      space: 44,
      incrs: [1, 2, 5, 7, 10, 14, 30],
      values: (_, splits) => splits.map((at) => labels[at] ?? ""),
    },
    {
      ...common,
      grid: { stroke: colour.grid, width: 1 },
      size: 48,
      incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6],
      values: (_, splits) => splits.map((at) => at.toLocaleString("en")),
    },
  ];
}

/**
 * Draw sessions by day: managed below, own keys on top of them.
 * @param {string} label
 * @param {{label: string, managed: number, byok: number}[]} days
 * @param {(index: number | null) => string} readout
 */
export function stackedDays(label, days, readout) {
  const positions = days.map((_, index) => index);
  const managed = days.map((one) => one.managed);
  const both = days.map((one) => one.managed + one.byok);
  const highest = Math.max(4, ...both);
  const bars = uPlot.paths.bars?.({ size: [0.72, 36], radius: 0.12 });
  return chart(
    label,
    [positions, both, managed],
    (colour) => ({
      scales: {
        x: { time: false, range: [-0.6, Math.max(days.length, 7) - 0.4] },
        y: { range: [0, highest * 1.08] },
      },
      axes: axes(
        colour,
        days.map((one) => one.label),
      ),
      series: [
        {},
        { fill: colour.byok, width: 0, paths: bars, points: { show: false } },
        { fill: colour.managed, width: 0, paths: bars, points: { show: false } },
      ],
    }),
    readout,
  );
}

/**
 * Draw sessions as they add up: what was, what is expected, and within which bounds.
 * @param {string} label
 * @param {{label: string, actual: number | null, expected: number | null,
 *   low: number | null, high: number | null}[]} days
 * @param {number} limit
 * @param {(index: number | null) => string} readout
 */
export function projection(label, days, limit, readout) {
  const column = (/** @type {"actual" | "expected" | "low" | "high"} */ name) =>
    days.map((one) => one[name]);
  const highest = Math.max(4, ...days.map((one) => one.high ?? one.actual ?? 0));
  // A limit that is far away would press everything else to the ground.
  const near = limit > 0 && limit <= highest * 2;
  return chart(
    label,
    [
      days.map((_, index) => index),
      column("high"),
      column("low"),
      column("expected"),
      column("actual"),
      days.map(() => (near ? limit : null)),
    ],
    (colour) => ({
      scales: {
        x: { time: false, range: [-0.3, Math.max(days.length, 2) - 0.7] },
        y: { range: [0, (near ? Math.max(limit, highest) : highest) * 1.08] },
      },
      axes: axes(
        colour,
        days.map((one) => one.label),
      ),
      series: [
        {},
        { stroke: "transparent", points: { show: false } },
        { stroke: "transparent", points: { show: false } },
        { stroke: colour.line, width: 2, dash: [5, 5], points: { show: false } },
        { stroke: colour.line, width: 2.5, points: { show: false } },
        { stroke: colour.limit, width: 1.5, dash: [2, 4], points: { show: false } },
      ],
      bands: [{ series: [1, 2], fill: colour.band }],
    }),
    readout,
  );
}

/**
 * Explain the colours of a chart.
 * @param {[string, string][]} entries class of the key, and what it stands for
 */
export function legend(entries) {
  return h(
    "ul",
    { className: "legend", role: "list" },
    entries.map(([kind, text]) => h("li", {}, h("span", { className: `key ${kind}` }), text)),
  );
}
