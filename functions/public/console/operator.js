// @ts-check
/** The operators' view, fed by `flowstack-admin console`: month ends, and every customer. */

import { facts, fill, h, table } from "./dom.js";
import { capital, date, moment, money, month, number } from "./format.js";
import { Panel } from "./panel.js";
import { meter } from "./usage.js";

/** @typedef {import("./api.js").Api} Api */

/** @param {Api} api */
export function monthEndPanel(api) {
  return new Panel({
    id: "month-end",
    title: "Month end",
    size: "wide",
    load: async () => {
      const { month_ends: runs } = await api.get("admin/month-ends?limit=12");
      if (runs.length === 0) return { runs };
      const { month_end: newest } = await api.get(`admin/month-ends/${runs[0].period}`);
      return { runs, newest };
    },
    show: ({ runs, newest }) =>
      newest ? [...progress(newest), earlier(runs)] : h("p", {}, "No period was closed yet."),
  });
}

/** @param {any} run */
function progress(run) {
  const share = run.customers > 0 ? (100 * run.closed) / run.customers : 100;
  const state = run.done ? "All customers are closed." : run.listed ? "Closing." : "Listing customers, and closing.";
  return [
    h(
      "p",
      { className: "figure smaller" },
      h("strong", {}, number(run.closed)),
      ` of ${number(run.customers)} customers closed for ${month(run.period)}`,
    ),
    meter(`${number(run.closed)} of ${number(run.customers)} customers closed`, share, 0, run.failed ? "near" : ""),
    h(
      "p",
      { className: run.failed ? "verdict bad" : "verdict" },
      run.failed ? `${number(run.failed)} failed; mend the cause, then run month-end redrive.` : state,
    ),
    facts([
      ["Open", number(run.open)],
      ["Failed", number(run.failed)],
      ["Started", moment(run.started_at)],
      ["Finished", run.finished_at ? moment(run.finished_at) : "not yet"],
    ]),
    run.failures.length > 0 &&
      table(
        "Customers whose month end failed",
        [{ name: "Customer" }, { name: "Reason" }],
        run.failures.map((/** @type {any} */ one) => [one.customer_id, one.reason]),
      ),
  ];
}

/** @param {any[]} runs */
function earlier(runs) {
  return h(
    "details",
    {},
    h("summary", {}, "All month ends"),
    table(
      "Month ends, the newest first",
      [{ name: "Period" }, { name: "Customers", number: true }, { name: "Started" }, { name: "Finished" }],
      runs.map((one) => [
        month(one.period),
        number(one.customers),
        moment(one.started_at),
        one.finished_at ? moment(one.finished_at) : "not yet",
      ]),
      { hidden: true },
    ),
  );
}

/**
 * @param {Api} api
 * @param {(customerId: string) => void} open
 */
export function customersPanel(api, open) {
  const id = h("input", { id: "customer-id", placeholder: "cus_…", required: true });
  const panel = new Panel({
    id: "customers",
    title: "Customers",
    size: "wide",
    load: () => api.get("admin/customers?limit=50"),
    show: (page) => customers(api, page, open),
  });
  panel.body.before(
    h(
      "form",
      {
        className: "row",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          open(id.value.trim());
        },
      },
      h("label", { for: "customer-id" }, "Customer id"),
      id,
      h("button", { type: "submit" }, "Open"),
    ),
  );
  return panel;
}

/**
 * @param {Api} api
 * @param {any} page
 * @param {(customerId: string) => void} open
 */
function customers(api, page, open) {
  const list = h("div", {});
  /** @type {any[]} */
  let known = [];
  /** @param {any} next */
  const add = (next) => {
    known = [...known, ...next.customers];
    fill(
      list,
      table(
        "Customers, in the order they were created",
        [
          { name: "Name" },
          { name: "Plan" },
          { name: "Sessions a month", number: true },
          { name: "Price a month", number: true },
          { name: "Since" },
          { name: "Open" },
        ],
        known.map((one) => [
          h("span", {}, one.name, " ", h("code", {}, one.customer_id)),
          capital(one.subscription.tier),
          number(one.subscription.session_limit),
          money(one.subscription.price_usd),
          date(one.created_at),
          h(
            "button",
            {
              type: "button",
              className: "small-button",
              "aria-label": `Open ${one.name}`,
              onclick: () => open(one.customer_id),
            },
            "Open",
          ),
        ]),
        { hidden: true },
      ),
      next.next_cursor &&
        h(
          "button",
          {
            type: "button",
            onclick: async () =>
              add(await api.get(`admin/customers?limit=50&cursor=${encodeURIComponent(next.next_cursor)}`)),
          },
          "Show more",
        ),
    );
  };
  add(page);
  return list;
}

/**
 * @param {Api} api
 * @param {string} place
 */
export function keysPanel(api, place) {
  return new Panel({
    id: "keys",
    title: "API keys",
    load: () => api.get(place),
    show: ({ keys }) =>
      table(
        "API keys, masked",
        [{ name: "Key" }, { name: "Name" }, { name: "Status" }, { name: "Made" }],
        keys.map((/** @type {any} */ one) => [
          h("code", {}, one.masked),
          one.name,
          one.status,
          date(one.created_at),
        ]),
        { hidden: true },
      ),
  });
}

/**
 * @param {Api} api
 * @param {string} place
 */
export function trailPanel(api, place) {
  return new Panel({
    id: "trail",
    title: "What operators did",
    size: "wide",
    load: () => api.get(`${place}?limit=20`),
    show: ({ audit_trail: trail }) =>
      table(
        "Audit trail, the newest first",
        [{ name: "At" }, { name: "Act" }, { name: "Who" }],
        trail.map((/** @type {any} */ one) => [moment(one.at), one.action, one.actor]),
        { hidden: true },
      ),
  });
}

// --- margins ----------------------------------------------------------------------------------

/** @param {number | null} percent */
const share = (percent) => (percent === null ? "–" : `${percent} %`);

/**
 * @param {Api} api
 * @param {string} place
 */
export function marginPanel(api, place) {
  return new Panel({
    id: "margin",
    title: "Margin",
    load: () => api.get(place),
    show: (found) => [
      h(
        "p",
        { className: "figure smaller" },
        h("strong", {}, money(found.margin)),
        ` left of ${money(found.revenue)}`,
        h("span", { className: "figure-side" }, month(found.period)),
      ),
      facts([
        ["Managed models cost", money(found.managed_cost)],
        ["Share of the price", share(found.cost_share_percent)],
        ["Managed messages", number(found.managed.messages)],
        ["Messages without a price", number(found.unpriced.messages)],
      ]),
    ],
  });
}

/**
 * @param {Api} api
 * @param {(customerId: string) => void} open
 */
export function marginsPanel(api, open) {
  const columns = [
    { name: "Price", number: true },
    { name: "Managed models", number: true },
    { name: "Margin", number: true },
    { name: "Share", number: true },
  ];
  const amounts = (/** @type {any} */ one) => [
    money(one.revenue),
    money(one.managed_cost),
    money(one.margin),
    share(one.cost_share_percent),
  ];
  return new Panel({
    id: "margins",
    title: "Margins",
    size: "wide",
    load: () => api.get("admin/margins"),
    show: (report) => [
      table(
        `Margins of ${month(report.period)} by plan`,
        [{ name: "Plan" }, { name: "Customers", number: true }, ...columns],
        report.tiers.map((/** @type {any} */ one) => [
          capital(one.tier),
          number(one.customers),
          ...amounts(one),
        ]),
      ),
      report.worst.length > 0 &&
        table(
          "Customers that cost the largest share of what they pay",
          [{ name: "Customer" }, ...columns, { name: "Open" }],
          report.worst.map((/** @type {any} */ one) => [
            h("code", {}, one.customer_id),
            ...amounts(one),
            h(
              "button",
              {
                type: "button",
                className: "small-button",
                "aria-label": `Open ${one.customer_id}`,
                onclick: () => open(one.customer_id),
              },
              "Open",
            ),
          ]),
        ),
      h("p", { className: "small" }, `As of ${moment(report.as_of)}`),
    ],
  });
}
