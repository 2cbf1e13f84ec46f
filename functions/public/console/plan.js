// @ts-check
/** The plan, and the changes that customers make by themselves. Each is tried dry first. */

import { Failure } from "./api.js";
import { announce, confirmed, facts, fill, h } from "./dom.js";
import { capital, date, moment, money, number, plural } from "./format.js";
import { Panel, attempt, problem } from "./panel.js";

/** @typedef {import("./api.js").Api} Api */

const ORDER = ["free", "starter", "professional", "enterprise"];

/**
 * @param {Api} api
 * @param {Partial<import("./api.js").Places>} places without `pricing` nothing can be changed
 * @param {() => void} changed called after a change
 */
export function planPanel(api, places, changed) {
  return new Panel({
    id: "plan",
    title: "Plan",
    size: "half",
    rows: 5,
    load: async () => {
      const [answer, pricing] = await Promise.all([
        api.get(places.subscription ?? ""),
        places.pricing ? api.get(places.pricing) : null,
      ]);
      return { subscription: answer.subscription, plans: pricing?.plans };
    },
    show: ({ subscription, plans }, panel) => [
      ...terms(subscription),
      plans && changes(api, places.subscription ?? "", subscription, plans, panel, changed),
    ],
  });
}

/** @param {any} subscription */
function terms(subscription) {
  const pending = subscription.pending_change;
  const next = pending?.followed_by;
  return [
    h(
      "p",
      { className: "figure smaller" },
      h("strong", {}, capital(subscription.tier)),
      h("span", { className: "figure-side" }, `${money(subscription.price_usd)} a month`),
    ),
    facts([["Included", `${plural(subscription.session_limit, "session")} a month`]]),
    pending &&
      h(
        "p",
        { className: "verdict near", id: "pending" },
        pending.kind === "cancellation"
          ? `Cancelled: the plan goes on until ${moment(pending.effective_at)}, and is Free from then on.`
          : `From ${moment(pending.effective_at)} on: ${capital(pending.tier)}, ${plural(pending.session_limit, "session")} for ${money(pending.price_usd)} a month.`,
        next && ` Then, from ${moment(next.effective_at)} on, ${capital(next.tier)}.`,
      ),
  ];
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {any} subscription
 * @param {any[]} plans
 * @param {Panel} panel
 * @param {() => void} changed
 */
function changes(api, place, subscription, plans, panel, changed) {
  const outcome = h("div", { className: "outcome", role: "status" });
  /**
   * @param {string} text
   * @param {object} command
   */
  const button = (text, command) => {
    const made = h(
      "button",
      {
        type: "button",
        onclick: () => change(api, place, command, text, { outcome, button: made, panel, changed }),
      },
      text,
    );
    return made;
  };
  const rank = ORDER.indexOf(subscription.tier);
  const lower = plans.filter(
    (plan) => plan.tier !== "free" && ORDER.indexOf(plan.tier) < rank,
  );
  const pending = subscription.pending_change;
  return h(
    "div",
    {},
    h("h3", {}, "Change it"),
    h(
      "div",
      { className: "row" },
      pending && button("Take the change back", { action: "undo" }),
      lower.map((plan) =>
        button(`Move down to ${capital(plan.tier)}`, { action: "downgrade", tier: plan.tier }),
      ),
      rank > 0 &&
        pending?.kind !== "cancellation" &&
        button("Cancel the plan", { action: "cancel" }),
    ),
    h(
      "p",
      { className: "small" },
      "Changes take effect when the period ends, and can be taken back until then. To move up, ask whoever gave you the key: it holds at once.",
    ),
    outcome,
  );
}

/**
 * Try a change dry, show what it would do, and make it if that is wanted.
 * @param {Api} api
 * @param {string} place
 * @param {object} command
 * @param {string} text
 * @param {{outcome: HTMLElement, button: HTMLButtonElement, panel: Panel, changed: () => void}} around
 */
async function change(api, place, command, text, { outcome, button, panel, changed }) {
  fill(outcome, "Trying it…");
  let preview;
  try {
    ({ preview } = await api.change("POST", `${place}?preview=true`, command));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    fill(outcome, problem(error));
    return;
  }
  fill(outcome);
  const undo = preview.action === "undo";
  const yes = await confirmed({
    title: `${text}?`,
    body: previewed(preview),
    yes: undo ? "Take it back" : text,
    grave: !undo,
  });
  button.focus();
  if (!yes) return;
  await attempt(outcome, button, async () => {
    await api.change("POST", place, command);
    await panel.refresh();
    panel.element.focus();
    announce("The plan was changed.");
    changed();
    return "Done.";
  });
}

/** @param {any} preview */
function previewed(preview) {
  const { before, after, current_period: period } = preview;
  const described = (/** @type {any} */ one) =>
    `${capital(one.tier)}: ${plural(one.session_limit, "session")}, ${money(one.price_usd)} a month`;
  return [
    facts([
      ["Now", described(before)],
      [
        preview.immediate ? "From now on" : `From ${date(preview.effective_at)} on`,
        described(after),
      ],
      [
        "This period stays as it is",
        `${number(period.sessions_used)} of ${plural(period.sessions_limit, "session")} used, ${money(period.current_charges)}`,
      ],
    ]),
    preview.lost.length > 0 && h("p", {}, "What you no longer have then:"),
    preview.lost.length > 0 &&
      h(
        "ul",
        {},
        preview.lost.map((/** @type {string} */ one) => h("li", {}, one)),
      ),
  ];
}
