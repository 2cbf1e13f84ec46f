// @ts-check
/** The console: who asks, and which panels that opens. */

import { Api, Failure, OF_CUSTOMER, ofOperator } from "./api.js";
import { announce, byId, fill, h } from "./dom.js";
import { alertsPanel, budgetPanel, credentialsPanel } from "./forms.js";
import { capital, time } from "./format.js";
import {
  customersPanel,
  keysPanel,
  marginPanel,
  marginsPanel,
  monthEndPanel,
  trailPanel,
} from "./operator.js";
import { problem } from "./panel.js";
import { planPanel } from "./plan.js";
import { statementsPanel } from "./statements.js";
import {
  advicePanel,
  breakdownPanel,
  forecastPanel,
  historyPanel,
  shared,
  usagePanel,
} from "./usage.js";
import { webhookPanel } from "./webhook.js";

/** @typedef {import("./panel.js").Panel} Panel */

const KEY = /^fs_[A-Za-z0-9]+$/;

/** @type {Panel[]} what is on the page now */
let panels = [];

// --- who asks ---------------------------------------------------------------------------------

/**
 * Ask for the key.
 * @param {Failure} [failure] why it is asked for again
 */
function signIn(failure) {
  panels = [];
  byId("actions").hidden = true;
  fill(byId("who"));
  const outcome = h("div", { className: "outcome", role: "alert" }, failure && problem(failure));
  const key = h("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: false,
    required: true,
    placeholder: "fs_…",
    "aria-describedby": "key-help",
  });
  const button = h("button", { type: "submit", className: "primary" }, "Open the console");
  fill(
    byId("main"),
    h(
      "form",
      {
        className: "card entry",
        autocomplete: "off",
        onsubmit: async (/** @type {Event} */ event) => {
          event.preventDefault();
          fill(outcome);
          button.disabled = true;
          const refused = await enter(key.value.trim());
          button.disabled = false;
          if (refused === null) {
            key.value = "";
            return;
          }
          fill(outcome, problem(refused));
          key.focus();
        },
      },
      h("h1", {}, "See where you stand"),
      h("p", {}, "Sessions, forecast, plan, statements and limits of the customer whose key you type in."),
      h("p", { className: "field" }, h("label", { for: "key" }, "API key"), key),
      h(
        "p",
        { className: "small", id: "key-help" },
        "The key stays in the memory of this page: it is not stored, and not part of any address. It is gone when you forget it, close the page or load it again.",
      ),
      h("div", { className: "row" }, button),
      outcome,
    ),
  );
  key.focus();
}

/**
 * Try a key; open the console with it.
 * @param {string} key
 * @returns {Promise<Failure | null>} why it did not open
 */
async function enter(key) {
  if (!KEY.test(key)) {
    return new Failure("This is not an API key.", {
      hint: "A key begins with fs_, and has letters and digits only.",
    });
  }
  let inside = false;
  const api = new Api({ "X-API-Key": key }, (failure) => {
    // Before, the form itself tells; afterwards the key was revoked meanwhile.
    if (inside) signIn(failure);
  });
  try {
    await api.get(OF_CUSTOMER.usage ?? "");
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  inside = true;
  customer(api, OF_CUSTOMER, "Your usage and plan");
  return null;
}

// --- what is shown ----------------------------------------------------------------------------

/**
 * Show all there is about a customer.
 * @param {Api} api
 * @param {Partial<import("./api.js").Places>} places
 * @param {string} title
 * @param {HTMLElement} [above]
 */
function customer(api, places, title, above) {
  const history = shared(() => api.get(places.history ?? ""));
  const usage = usagePanel(api, places.usage ?? "", ({ tier }) => {
    fill(byId("who"), h("span", { className: "badge" }, capital(tier)));
  });
  /** @type {(Panel | undefined | "")[]} */
  const wanted = [
    usage,
    places.history && historyPanel(history),
    places.forecast && forecastPanel(api, places.forecast, history),
    places.history && breakdownPanel(api, places.history),
    places.subscription && planPanel(api, places, () => usage.refresh()),
    places.advice && advicePanel(api, places.advice),
    places.alerts && alertsPanel(api, places.alerts, places.keys === undefined),
    places.budget && budgetPanel(api, places.budget),
    places.webhook && webhookPanel(api, places.webhook),
    places.margin && marginPanel(api, places.margin),
    places.keys && keysPanel(api, places.keys),
    places.statements && statementsPanel(api, places.statements),
    places.credentials && credentialsPanel(api, places.credentials),
    places.trail && trailPanel(api, places.trail),
  ];
  open(title, wanted.filter((panel) => panel !== undefined && panel !== ""), above);
}

/**
 * Put panels on the page, and load them.
 * @param {string} title
 * @param {Panel[]} chosen
 * @param {HTMLElement} [above]
 */
function open(title, chosen, above) {
  panels = chosen;
  byId("actions").hidden = false;
  const heading = h("h1", { tabIndex: -1 }, title);
  fill(
    byId("main"),
    above,
    heading,
    h(
      "nav",
      { className: "sections", "aria-label": "Sections" },
      h(
        "ul",
        { role: "list" },
        panels.map((panel) => h("li", {}, h("a", { href: `#${panel.id}` }, panel.title))),
      ),
    ),
    h("div", { className: "cards" }, ...panels.map((panel) => panel.element)),
  );
  scrollTo(0, 0);
  heading.focus({ preventScroll: true });
  refresh();
}

async function refresh() {
  await Promise.all(panels.map((panel) => panel.refresh()));
  fill(byId("as-of"), `As of ${time(new Date())}`);
}

/**
 * Show the operators' view.
 * @param {string} token
 * @param {string | undefined} first whose customer to begin with
 */
function operate(token, first) {
  byId("leave").hidden = true;
  const api = new Api({ "X-Console-Token": token }, () => {});
  const everybody = () => {
    fill(byId("who"), h("span", { className: "badge" }, "Operator, read only"));
    open("All customers", [monthEndPanel(api), customersPanel(api, one), marginsPanel(api, one)]);
  };
  const one = (/** @type {string} */ customerId) => {
    const back = h("button", { type: "button", className: "quiet", onclick: everybody }, "← All customers");
    customer(api, ofOperator(customerId), `Customer ${customerId}`, back);
  };
  if (first) one(first);
  else everybody();
}

// --- the page itself --------------------------------------------------------------------------

function watchConnection() {
  const tell = () =>
    fill(byId("offline"), `You are offline. What is shown is from ${time(new Date())} or before.`);
  addEventListener("offline", tell);
  addEventListener("online", () => {
    fill(byId("offline"));
    announce("You are online again.");
    for (const panel of panels) if (panel.failed) panel.refresh();
  });
  if (!navigator.onLine) tell();
}

byId("refresh").addEventListener("click", async () => {
  announce("Loading again.");
  await refresh();
  announce("Everything was loaded again.");
});
byId("leave").addEventListener("click", () => {
  signIn();
  announce("The key is forgotten.");
});
watchConnection();

const operator = /^#operator\/([\w-]+)(?:\/([\w.-]+))?$/.exec(location.hash);
if (operator?.[1]) {
  // What lets this page in stays in its memory, and out of the history.
  history.replaceState(null, "", location.pathname);
  operate(operator[1], operator[2]);
} else {
  signIn();
}
