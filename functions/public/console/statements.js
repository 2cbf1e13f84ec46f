// @ts-check
/** Statements of closed periods: a list, each to read, to print and to save. */

import { Failure } from "./api.js";
import { announce, fill, h, save, table } from "./dom.js";
import { capital, money, month, number } from "./format.js";
import { Panel, problem } from "./panel.js";

/** @typedef {import("./api.js").Api} Api */

const PAGE = 12;

/**
 * @param {Api} api
 * @param {string} place
 */
export function statementsPanel(api, place) {
  return new Panel({
    id: "statements",
    title: "Statements",
    size: "wide",
    rows: 5,
    load: () => api.get(`${place}?limit=${PAGE}`),
    show: (page) => showStatements(api, place, page),
  });
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {any} page
 */
function showStatements(api, place, page) {
  if (page.statements.length === 0) {
    return h("p", {}, "No period is closed yet. The first statement comes when this one ends.");
  }
  const outcome = h("div", { className: "outcome", role: "status" });
  /** @param {() => Promise<void>} act */
  const doing = (act) => async () => {
    fill(outcome);
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      fill(outcome, problem(error));
    }
  };
  const list = h("div", {});
  /** @type {any[]} */
  let statements = [];
  /** @param {any} next */
  const add = (next) => {
    statements = [...statements, ...next.statements];
    fill(
      list,
      listed(statements, {
        read: (period) => doing(() => read(api, place, period)),
        csv: (period) => doing(() => csv(api, `${place}/${period}`, `statement-${period}.csv`)),
      }),
      h(
        "div",
        { className: "row" },
        h(
          "button",
          {
            type: "button",
            onclick: doing(() => csv(api, `${place}?limit=100`, "statements.csv")),
          },
          "Save all as CSV",
        ),
        next.next_cursor &&
          h(
            "button",
            {
              type: "button",
              onclick: doing(async () => {
                const cursor = encodeURIComponent(next.next_cursor);
                add(await api.get(`${place}?limit=${PAGE}&cursor=${cursor}`));
                announce("Older statements were added to the list.");
              }),
            },
            "Show older ones",
          ),
      ),
    );
  };
  add(page);
  return [list, outcome];
}

/**
 * @param {any[]} statements
 * @param {Record<"read" | "csv", (period: string) => () => void>} acts
 */
function listed(statements, acts) {
  return table(
    "Statements, the newest first",
    [
      { name: "Period" },
      { name: "Plan" },
      { name: "Sessions", number: true },
      { name: "Managed", number: true },
      { name: "Own keys", number: true },
      { name: "Total", number: true },
      { name: "Read or save" },
    ],
    statements.map((one) => [
      month(one.period),
      one.tiers.map(capital).join(", "),
      `${number(one.sessions_used)} of ${number(one.session_limit)}`,
      number(one.managed_sessions),
      number(one.byok_sessions),
      money(one.total),
      h(
        "span",
        { className: "row tight" },
        h(
          "button",
          {
            type: "button",
            className: "small-button",
            "aria-label": `Read the statement of ${month(one.period)}`,
            onclick: acts.read(one.period),
          },
          "Read",
        ),
        h(
          "button",
          {
            type: "button",
            className: "small-button",
            "aria-label": `Save the statement of ${month(one.period)} as CSV`,
            onclick: acts.csv(one.period),
          },
          "CSV",
        ),
      ),
    ]),
    { hidden: true },
  );
}

/**
 * @param {Api} api
 * @param {string} path
 * @param {string} name
 */
async function csv(api, path, name) {
  const response = await api.read(path, "text/csv");
  save(name, await response.blob());
  announce(`${name} was saved.`);
}

/**
 * Show the page that the API makes of a statement, ready to be printed.
 *
 * A link could not carry the key, and a page of its own made from the text would be under this
 * page's policy, which forbids its style. So its content is shown here, with the console's style.
 * @param {Api} api
 * @param {string} place
 * @param {string} period
 */
async function read(api, place, period) {
  const response = await api.read(`${place}/${period}`, "text/html");
  const text = (await response.text()).replace(/<style>[^]*?<\/style>/, "");
  const page = new DOMParser().parseFromString(text, "text/html");
  const dialog = h(
    "dialog",
    { className: "statement", "aria-label": page.title, onclose: () => dialog.remove() },
    h("div", { className: "statement-page" }, ...document.adoptNode(page.body).childNodes),
    h(
      "div",
      { className: "row end not-printed" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
      h("button", { type: "button", className: "primary", onclick: () => window.print() }, "Print"),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}
