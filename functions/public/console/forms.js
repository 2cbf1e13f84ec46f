// @ts-check
/** What customers set by themselves: alerts, a budget, and credentials of their own. */

import { confirmed, facts, fill, h, table } from "./dom.js";
import { date, distance, moment, money, month, number, plural } from "./format.js";
import { Panel, attempt } from "./panel.js";
import { NAMES, PUBLIC_FIELDS, WAYS } from "./providers.js";
import { meter } from "./usage.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./dom.js").Child} Child */

/**
 * A labelled field of a form.
 * @param {string} id
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement} input
 * @param {string} [help]
 */
function field(id, label, input, help) {
  input.id = id;
  if (help) input.setAttribute("aria-describedby", `${id}-help`);
  return h(
    "p",
    { className: "field" },
    h("label", { for: id }, label),
    input,
    help && h("span", { className: "small", id: `${id}-help` }, help),
  );
}

/**
 * A form that answers to Enter and to its button.
 * @param {string} text of the button
 * @param {Child[]} fields
 * @param {() => Promise<string>} act
 */
function form(text, fields, act) {
  const outcome = h("div", { className: "outcome", role: "status" });
  const button = h("button", { type: "submit", className: "primary" }, text);
  return h(
    "form",
    {
      autocomplete: "off",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        attempt(outcome, button, act);
      },
    },
    ...fields,
    h("div", { className: "row" }, button),
    outcome,
  );
}

/** @param {string} text */
const orNull = (text) => (text.trim() === "" ? null : Number(text));

// --- alerts -----------------------------------------------------------------------------------

/**
 * @param {Api} api
 * @param {string} place
 * @param {boolean} editable
 */
export function alertsPanel(api, place, editable) {
  return new Panel({
    id: "alerts",
    title: "Alerts",
    load: () => api.get(place),
    show: (found, panel) => [
      fired(found),
      h("h3", {}, "When and whom to tell"),
      editable ? alertForm(api, place, found, panel) : alertSettings(found),
    ],
  });
}

/** @param {any} found */
function fired({ alerts, period }) {
  if (alerts.length === 0) return h("p", {}, `No alert in ${month(period)} so far.`);
  return table(
    `Alerts of ${month(period)}`,
    [{ name: "Reached" }, { name: "At" }, { name: "Sessions", number: true }],
    alerts.map((/** @type {any} */ one) => [
      `${one.threshold} %`,
      moment(one.at),
      `${number(one.sessions_used)} of ${number(one.sessions_limit)}`,
    ]),
    { hidden: true },
  );
}

/** @param {any} found */
function alertSettings({ thresholds, email }) {
  return facts([
    ["Thresholds", thresholds.map((/** @type {number} */ one) => `${one} %`).join(", ")],
    ["E-mail", email ?? "none"],
  ]);
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {any} found
 * @param {Panel} panel
 */
function alertForm(api, place, found, panel) {
  const thresholds = h("input", {
    value: found.thresholds.join(", "),
    required: true,
    pattern: "\\s*\\d{1,3}\\s*([,; ]\\s*\\d{1,3}\\s*)*",
    title: "Whole numbers from 1 to 100, with commas between them",
  });
  const email = h("input", { type: "email", value: found.email ?? "" });
  return form(
    "Save alerts",
    [
      field("thresholds", "Thresholds in %", thresholds, "With commas between them, such as 75, 90, 95."),
      field("email", "E-mail", email, "Leave it empty to get none."),
    ],
    async () => {
      const saved = await api.change("PUT", place, {
        thresholds: thresholds.value.split(/[\s,;]+/).filter(Boolean).map(Number),
        email: email.value.trim() || null,
      });
      panel.settle(saved);
      panel.element.focus();
      return "Saved.";
    },
  );
}

// --- budget -----------------------------------------------------------------------------------

/**
 * @param {Api} api
 * @param {string} place
 */
export function budgetPanel(api, place) {
  return new Panel({
    id: "budget",
    title: "Budget",
    load: () => api.get(place),
    show: (found, panel) => [...spending(found), budgetForm(api, place, found, panel)],
  });
}

/** @param {any} found */
function spending({ spent, monthly_ceiling: ceiling, reached, action, period }) {
  const parts = `${money(spent.plan)} for the plan, about ${money(spent.byok_estimate)} at own providers`;
  return [
    h(
      "p",
      { className: "figure smaller" },
      h("strong", {}, money(spent.total)),
      ceiling === null ? " spent" : ` of ${money(ceiling)}`,
      h("span", { className: "figure-side" }, month(period)),
    ),
    ceiling !== null &&
      meter(
        `${money(spent.total)} of ${money(ceiling)} spent`,
        ceiling > 0 ? Math.min(100, (100 * spent.total) / ceiling) : 100,
        0,
        reached ? "bad" : "",
      ),
    h("p", { className: "small" }, `${parts}.`),
    reached &&
      h(
        "p",
        { className: "verdict bad" },
        action === "block"
          ? "The ceiling is reached: no new session can start. Running conversations go on."
          : "The ceiling is reached.",
      ),
  ];
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {any} found
 * @param {Panel} panel
 */
function budgetForm(api, place, found, panel) {
  /** @param {number | null} value @param {string} step */
  const amount = (value, step) =>
    h("input", { type: "number", min: "0", step, value: value ?? "", inputMode: "decimal" });
  const ceiling = amount(found.monthly_ceiling, "0.01");
  const turns = amount(found.session_turn_cap, "1");
  const tokens = amount(found.session_token_cap, "1");
  const action = h(
    "select",
    {},
    h("option", { value: "warn" }, "Warn only"),
    h("option", { value: "block" }, "Let no new session start"),
  );
  action.value = found.action ?? "warn";
  return form(
    "Save budget",
    [
      field("ceiling", "Ceiling a month, US dollars", ceiling, "Leave it empty to have none."),
      field("ceiling-action", "When it is reached", action),
      field("turn-cap", "Turns a session, at most", turns),
      field("token-cap", "Tokens a session, at most", tokens),
    ],
    async () => {
      await api.change("PUT", place, {
        monthly_ceiling: orNull(ceiling.value),
        action: action.value,
        session_turn_cap: orNull(turns.value),
        session_token_cap: orNull(tokens.value),
      });
      await panel.refresh();
      panel.element.focus();
      return "Saved.";
    },
  );
}

// --- own keys ---------------------------------------------------------------------------------

/**
 * @param {Api} api
 * @param {string} place
 */
export function credentialsPanel(api, place) {
  return new Panel({
    id: "credentials",
    title: "Own keys",
    size: "wide",
    load: () => api.get(place),
    show: ({ credentials }, panel) => [
      ...stored(api, place, credentials, panel),
      h("details", {}, h("summary", {}, "Store credentials"), storeForm(api, place, panel)),
    ],
  });
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {any[]} credentials
 * @param {Panel} panel
 */
function stored(api, place, credentials, panel) {
  if (credentials.length === 0) return [h("p", {}, "No credentials are stored.")];
  const outcome = h("div", { className: "outcome", role: "status" });
  const now = new Date().toISOString();
  return [
    table(
      "Stored credentials, masked",
      [{ name: "Provider" }, { name: "Fields" }, { name: "Stored" }, { name: "Last used" }, { name: "Delete" }],
      credentials.map((one) => [
        NAMES[one.provider] ?? one.provider,
        h("code", {}, Object.entries(one.credentials).map(([name, value]) => `${name} ${value}`).join(", ")),
        date(one.updated_at),
        one.last_used_at ? distance(now, one.last_used_at) : "never",
        remover(api, place, one.provider, outcome, panel),
      ]),
      { hidden: true },
    ),
    outcome,
  ];
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {string} provider
 * @param {HTMLElement} outcome
 * @param {Panel} panel
 */
function remover(api, place, provider, outcome, panel) {
  const name = NAMES[provider] ?? provider;
  const button = h(
    "button",
    {
      type: "button",
      className: "small-button",
      "aria-label": `Delete the credentials at ${name}`,
      onclick: async () => {
        const yes = await confirmed({
          title: `Delete the credentials at ${name}?`,
          body: [h("p", {}, "Conversations that use them stop working within a minute. FlowStack cannot bring them back.")],
          yes: "Delete",
          no: "Keep",
          grave: true,
        });
        button.focus();
        if (!yes) return;
        await attempt(outcome, button, async () => {
          await api.change("DELETE", `${place}/${encodeURIComponent(provider)}`);
          await panel.refresh();
          panel.element.focus();
          return "Deleted.";
        });
      },
    },
    "Delete",
  );
  return button;
}

/**
 * @param {Api} api
 * @param {string} place
 * @param {Panel} panel
 */
function storeForm(api, place, panel) {
  const fields = h("div", {});
  const provider = h(
    "select",
    {},
    Object.keys(WAYS).map((one) => h("option", { value: one }, NAMES[one] ?? one)),
  );
  const way = h("select", {});
  const wayField = field("credential-way", "Way in", way);
  /** @type {Map<string, HTMLInputElement>} */
  let inputs = new Map();
  const ways = () => WAYS[provider.value] ?? [];
  const showFields = () => {
    const chosen = ways()[Number(way.value)] ?? { required: [], optional: [] };
    inputs = new Map(
      [...chosen.required, ...chosen.optional].map((name) => [
        name,
        h("input", {
          type: PUBLIC_FIELDS.includes(name) ? "text" : "password",
          required: chosen.required.includes(name),
          autocomplete: "off",
          spellcheck: false,
        }),
      ]),
    );
    fill(
      fields,
      ...[...inputs].map(([name, input]) =>
        field(
          `credential-${name}`,
          `${name.replaceAll("_", " ")}${input.required ? "" : " (may be left out)"}`,
          input,
        ),
      ),
    );
  };
  const showWays = () => {
    fill(way, ...ways().map((one, index) => h("option", { value: String(index) }, one.required.join(", ").replaceAll("_", " "))));
    wayField.hidden = ways().length < 2;
    showFields();
  };
  provider.addEventListener("change", showWays);
  way.addEventListener("change", showFields);
  provider.value = "openai";
  showWays();
  return form(
    "Store",
    [
      h("p", { className: "small" }, "They are encrypted before they are stored, are never shown again, and take the place of earlier ones at the same provider."),
      field("credential-provider", "Provider", provider),
      wayField,
      fields,
    ],
    async () => {
      const given = [...inputs].filter(([, input]) => input.value !== "");
      const credentials = Object.fromEntries(given.map(([name, input]) => [name, input.value]));
      await api.change("POST", place, { provider: provider.value, credentials });
      for (const input of inputs.values()) input.value = "";
      await panel.refresh();
      panel.element.focus();
      return `Stored: ${plural(given.length, "field")}.`;
    },
  );
}
