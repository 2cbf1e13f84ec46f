// @ts-check
/** Where the customer stands: the quota now, the days so far, the days to come, and advice. */

import { legend, projection, stackedDays } from "./charts.js";
import { facts, h, table } from "./dom.js";
import {
  capital,
  compact,
  date,
  day,
  distance,
  moment,
  money,
  month,
  number,
  plural,
  time,
} from "./format.js";
import { Panel } from "./panel.js";

/** @typedef {import("./api.js").Api} Api */

/**
 * @param {Api} api
 * @param {string} place
 * @param {(usage: any) => void} seen told of every answer
 */
export function usagePanel(api, place, seen) {
  return new Panel({
    id: "usage",
    title: "Usage now",
    size: "wide",
    rows: 6,
    load: async () => {
      const usage = await api.get(place);
      seen(usage);
      return usage;
    },
    show: showUsage,
  });
}

/** @param {any} usage */
function showUsage({ tier, current_charges: charges, current_period: period }) {
  const { sessions_used: used, sessions_held: held, sessions_limit: limit } = period;
  const left = period.sessions_remaining;
  const share = limit > 0 ? Math.min(100, (100 * used) / limit) : 100;
  const heldShare = limit > 0 ? Math.min(share, (100 * held) / limit) : 0;
  const state = left <= 0 ? "bad" : period.is_near_limit ? "near" : "";
  const sentence =
    left <= 0
      ? `The limit is reached: no new session can start until ${moment(period.end)}. Running conversations go on.`
      : `${plural(left, "session")} left${period.is_near_limit ? ", and the limit is near" : ""}.`;
  return [
    h(
      "p",
      { className: "figure" },
      h("strong", { id: "used" }, number(used)),
      ` of ${plural(limit, "session")}`,
      h("span", { className: "figure-side" }, `${period.usage_percentage} %`),
    ),
    meter(`${number(used)} of ${plural(limit, "session")} used`, share, heldShare, state),
    h("p", { className: state ? `verdict ${state}` : "verdict" }, sentence),
    facts([
      ["Period", month(period.name)],
      [
        "Resets",
        [date(period.end), h("small", {}, ` ${time(period.end)}, ${distance(period.now, period.end)}`)],
      ],
      [
        "Held",
        [number(held), h("small", {}, held ? " counted, not answered yet" : " nothing pending")],
      ],
      ["Credited", plural(period.sessions_credited, "session")],
      ["Plan", capital(tier)],
      ["Charges this period", money(charges)],
    ]),
  ];
}

/**
 * @param {string} label
 * @param {number} share
 * @param {number} heldShare how much of it is held
 * @param {string} state
 */
export function meter(label, share, heldShare, state) {
  const svg = "http://www.w3.org/2000/svg";
  const bar = document.createElementNS(svg, "svg");
  bar.setAttribute("class", `meter ${state}`);
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", label);
  bar.setAttribute("viewBox", "0 0 100 1");
  bar.setAttribute("preserveAspectRatio", "none");
  for (const [kind, from, width] of /** @type {[string, number, number][]} */ ([
    ["ground", 0, 100],
    ["used", 0, share - heldShare],
    ["held", share - heldShare, heldShare],
  ])) {
    const part = document.createElementNS(svg, "rect");
    part.setAttribute("class", kind);
    part.setAttribute("x", String(from));
    part.setAttribute("width", String(Math.max(0, width)));
    part.setAttribute("height", "1");
    bar.append(part);
  }
  return bar;
}

/** @param {() => Promise<any>} history */
export function historyPanel(history) {
  return new Panel({
    id: "days",
    title: "Sessions by day",
    size: "half",
    rows: 7,
    load: history,
    show: showHistory,
  });
}

/** @param {any} history */
function showHistory({ series, totals, from, to }) {
  if (series.length === 0) return h("p", {}, "No day of this period is over yet.");
  const days = series.map((/** @type {any} */ one) => ({
    label: day(one.start),
    managed: one.managed_sessions,
    byok: one.byok_sessions,
  }));
  const said = (/** @type {any} */ one) =>
    `${number(one.managed_sessions)} managed, ${number(one.byok_sessions)} with own keys`;
  return [
    legend([
      ["managed", `Managed models, ${number(totals.managed_sessions)}`],
      ["byok", `Own keys, ${number(totals.byok_sessions)}`],
    ]),
    stackedDays(
      `Sessions by day from ${date(from)} to ${date(to)}: ${plural(totals.sessions, "session")}, ${said(totals)}.`,
      days,
      (index) => {
        const one = index === null ? undefined : series[index];
        return one ? `${day(one.start)}: ${said(one)}` : `${plural(totals.messages, "message")}, ${compact(totals.input_tokens + totals.output_tokens)} tokens in all`;
      },
    ),
    asTable(
      table(
        "Sessions by day",
        [
          { name: "Day" },
          { name: "Managed", number: true },
          { name: "Own keys", number: true },
          { name: "Sessions", number: true },
          { name: "Messages", number: true },
          { name: "Tokens", number: true },
        ],
        series.map((/** @type {any} */ one) => [
          one.complete ? day(one.start) : `${day(one.start)}, so far`,
          number(one.managed_sessions),
          number(one.byok_sessions),
          number(one.sessions),
          number(one.messages),
          number(one.input_tokens + one.output_tokens),
        ]),
        { hidden: true },
      ),
    ),
  ];
}

/** @param {Element} content */
function asTable(content) {
  return h("details", {}, h("summary", {}, "Show as a table"), content);
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {() => Promise<any>} history
 */
export function forecastPanel(api, place, history) {
  return new Panel({
    id: "forecast",
    title: "Forecast",
    size: "half",
    rows: 7,
    load: async () => {
      const [forecast, past] = await Promise.all([
        api.get(place),
        history().catch(() => ({ series: [] })),
      ]);
      return { forecast, past: past.series };
    },
    show: showForecast,
  });
}

/** @param {{forecast: any, past: any[]}} found */
function showForecast({ forecast, past }) {
  const { projected_sessions: projected, interval, sessions_limit: limit } = forecast;
  const percent = Math.round(interval.confidence * 100);
  const between = `${number(interval.low)} to ${number(interval.high)}`;
  return [
    h(
      "p",
      { className: "figure smaller" },
      h("strong", {}, number(projected)),
      " sessions",
      h("span", { className: "figure-side" }, `${percent} %: ${between}`),
    ),
    projection(
      `Sessions of ${month(forecast.period)} as they add up: ${number(forecast.sessions_used)} so far, ` +
        `${number(projected)} expected by its end, with ${percent} % between ${between}; the limit is ${number(limit)}.`,
      trend(forecast, past),
      limit,
      (index) => trendReadout(forecast, past, index),
    ),
    legend([
      ["actual", "So far"],
      ["expected", "Expected"],
      ["band", `${percent} % interval`],
      ["limit", `Limit, ${number(limit)}`],
    ]),
    h(
      "p",
      { className: forecast.limit_reached_at ? "verdict near" : "verdict" },
      forecast.limit_reached_at
        ? `At this pace the limit is reached on ${moment(forecast.limit_reached_at)}.`
        : "At this pace the limit is not reached in this period.",
    ),
    h("p", { className: "small" }, forecast.explanation),
    asTable(
      table(
        "Expected sessions by the end of each day",
        [
          { name: "Day" },
          { name: "Expected", number: true },
          { name: "Low", number: true },
          { name: "High", number: true },
        ],
        forecast.days.map((/** @type {any} */ one) => [
          day(one.day),
          number(one.expected),
          number(one.low),
          number(one.high),
        ]),
        { hidden: true },
      ),
    ),
  ];
}

/**
 * @param {any} forecast
 * @param {any[]} past
 */
function trend(forecast, past) {
  let sum = 0;
  const none = { expected: null, low: null, high: null };
  /** @type {{label: string, actual: number | null, expected: number | null, low: number | null, high: number | null}[]} */
  const days = past.map((one) => {
    sum += one.sessions;
    return { label: day(one.start), actual: sum, ...none };
  });
  const last = days.at(-1);
  if (last !== undefined) {
    // The lines of what was and of what is expected meet today.
    last.expected = last.low = last.high = last.actual;
  }
  const seen = new Set(past.map((one) => one.start));
  for (const one of forecast.days) {
    if (seen.has(one.day)) continue;
    const { expected, low, high } = one;
    days.push({ label: day(one.day), actual: null, expected, low, high });
  }
  return days;
}

/**
 * @param {any} forecast
 * @param {any[]} past
 * @param {number | null} index
 */
function trendReadout(forecast, past, index) {
  const one = index === null ? undefined : trend(forecast, past)[index];
  if (one === undefined) return `As of ${moment(forecast.as_of)}`;
  if (one.actual !== null) return `${one.label}: ${number(one.actual)} so far`;
  return `${one.label}: ${number(one.expected ?? 0)}, from ${number(one.low ?? 0)} to ${number(one.high ?? 0)}`;
}

/**
 * @param {Api} api
 * @param {string} place
 */
export function breakdownPanel(api, place) {
  let by = "agent";
  const panel = new Panel({
    id: "breakdown",
    title: "Who and what uses sessions",
    size: "wide",
    rows: 5,
    load: () => api.get(`${place}?by=${by}`),
    show: (history) => breakdown(by, history),
  });
  const choice = h(
    "select",
    {
      id: "by",
      onchange: () => {
        by = choice.value;
        panel.refresh();
      },
    },
    ["agent", "model", "provider"].map((one) => h("option", { value: one }, capital(one))),
  );
  panel.body.before(
    h("p", { className: "row" }, h("label", { for: "by" }, "By"), choice),
  );
  return panel;
}

/**
 * @param {string} by
 * @param {any} history
 */
function breakdown(by, history) {
  /** @type {Map<string, {managed: number, byok: number, messages: number, tokens: number}>} */
  const sums = new Map();
  for (const one of history.series.flatMap((/** @type {any} */ part) => part.breakdown ?? [])) {
    const sum = sums.get(one.name) ?? { managed: 0, byok: 0, messages: 0, tokens: 0 };
    sum.managed += one.managed_sessions;
    sum.byok += one.byok_sessions;
    sum.messages += one.messages;
    sum.tokens += one.input_tokens + one.output_tokens;
    sums.set(one.name, sum);
  }
  if (sums.size === 0) return h("p", {}, "Nothing was used in this period yet.");
  const rows = [...sums].sort(
    ([, one], [, other]) => other.managed + other.byok - one.managed - one.byok,
  );
  return table(
    `Sessions by ${by}`,
    [
      { name: capital(by) },
      { name: "Managed", number: true },
      { name: "Own keys", number: true },
      { name: "Messages", number: true },
      { name: "Tokens", number: true },
    ],
    rows.map(([name, sum]) => [
      name,
      number(sum.managed),
      number(sum.byok),
      number(sum.messages),
      compact(sum.tokens),
    ]),
    { hidden: true },
  );
}

/**
 * @param {Api} api
 * @param {string} place
 */
export function advicePanel(api, place) {
  return new Panel({
    id: "advice",
    title: "Recommendations",
    size: "half",
    rows: 3,
    load: () => api.get(place),
    show: ({ recommendations }) =>
      recommendations.length === 0
        ? h("p", {}, "Nothing to recommend: the plan fits what is used.")
        : h(
            "ul",
            { className: "advice", role: "list" },
            recommendations.map((/** @type {any} */ one) =>
              h(
                "li",
                {},
                h("p", {}, one.message),
                one.potential_savings > 0 &&
                  h("p", { className: "saving" }, `Saves about ${money(one.potential_savings)} a month`),
              ),
            ),
          ),
  });
}

/**
 * Make a loader that several panels share: one request for all that ask at the same time.
 * @param {() => Promise<any>} load
 */
export function shared(load) {
  /** @type {Promise<any> | undefined} */
  let running;
  return () => {
    running ??= load().finally(() => {
      running = undefined;
    });
    return running;
  };
}

