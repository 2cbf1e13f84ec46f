// @ts-check
/** The customer's webhook: where it is, how its deliveries went, and another try. */

import { Failure } from "./api.js";
import { announce, facts, h, table } from "./dom.js";
import { capital, moment, number } from "./format.js";
import { Panel, attempt } from "./panel.js";

/** @typedef {import("./api.js").Api} Api */

const SHOWN = 10;

/**
 * @param {Api} api
 * @param {string} place
 */
export function webhookPanel(api, place) {
  return new Panel({
    id: "webhook",
    title: "Webhook",
    size: "wide",
    load: async () => {
      const endpoint = await existing(api.get(place));
      if (endpoint === null) return { endpoint };
      const { deliveries } = await api.get(`${place}/deliveries?limit=${SHOWN}`);
      return { endpoint, deliveries };
    },
    show: ({ endpoint, deliveries }, panel) =>
      endpoint === null
        ? h(
            "p",
            {},
            "None. Alerts and statements are sent to an address of yours if a program sets it with ",
            h("code", {}, "PUT /alerts/webhook"),
            ", which answers with the secret that they are signed with.",
          )
        : showWebhook(api, place, endpoint, deliveries, panel),
  });
}

/**
 * @param {Promise<any>} answer
 * @returns {Promise<any>} null where there is no such thing
 */
async function existing(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Failure && error.status === 404) return null;
    throw error;
  }
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {any} endpoint
 * @param {any[]} deliveries
 * @param {Panel} panel
 */
function showWebhook(api, place, endpoint, deliveries, panel) {
  const outcome = h("div", { className: "outcome", role: "status" });
  /**
   * @param {string} text
   * @param {string} label
   * @param {string} path
   */
  const send = (text, label, path) => {
    const button = h(
      "button",
      {
        type: "button",
        "aria-label": label,
        onclick: () =>
          attempt(outcome, button, async () => {
            await api.change("POST", path, {});
            await panel.refresh();
            panel.element.focus();
            announce("It will be delivered in a moment.");
            return "On its way.";
          }),
      },
      text,
    );
    return button;
  };
  return [
    endpoint.switched_off_at &&
      h(
        "p",
        { className: "verdict bad" },
        `Switched off since ${moment(endpoint.switched_off_at)}: its deliveries kept failing. Setting the address again switches it on.`,
      ),
    facts([
      ["Address", h("code", {}, endpoint.url)],
      ["Since", moment(endpoint.created_at)],
      ["Changed", moment(endpoint.updated_at)],
    ]),
    deliveries.length === 0
      ? h("p", {}, "Nothing was delivered in the last 30 days.")
      : table(
          "Deliveries, the newest first",
          [
            { name: "Event" },
            { name: "At" },
            { name: "Status" },
            { name: "Attempts", number: true },
            { name: "Answer" },
            { name: "Again" },
          ],
          deliveries.map((one) => [
            one.type,
            moment(one.created_at),
            h("span", { className: one.status === "failed" ? "verdict bad" : "" }, capital(one.status)),
            number(one.attempts),
            answer(one),
            one.status !== "pending" &&
              send(
                "Send again",
                `Send again: ${one.type} of ${moment(one.created_at)}`,
                `${place}/deliveries/${encodeURIComponent(one.event_id)}/redeliver`,
              ),
          ]),
        ),
    h("div", { className: "row" }, send("Send a test", "Send a test", `${place}/test`)),
    outcome,
  ];
}

/** @param {any} delivery */
function answer({ last_attempt: last, next_attempt_at: next }) {
  const said = last === null ? "none yet" : (last.status ?? last.reason ?? "none");
  return next === null ? String(said) : `${said}, next try ${moment(next)}`;
}
