// @ts-check
/** A card that loads by itself, says so when it cannot, and leaves the others alone. */

import { Failure } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { moment, plural } from "./format.js";

/** @typedef {import("./dom.js").Child} Child */

/** Shows one document of the API. */
export class Panel {
  /**
   * @param {object} what
   * @param {string} what.id also the anchor that the navigation leads to
   * @param {string} what.title
   * @param {() => Promise<any>} what.load
   * @param {(document: any, panel: Panel) => (Child | Child[])} what.show
   * @param {"wide" | "half" | "third"} [what.size]
   * @param {number} [what.rows] how much room to keep while it loads
   */
  constructor({ id, title, load, show, size = "half", rows = 4 }) {
    this.id = id;
    this.title = title;
    this.load = load;
    this.show = show;
    this.rows = rows;
    this.body = h("div", { className: "card-body" });
    this.element = h(
      "section",
      { id, className: `card ${size}`, "aria-labelledby": `${id}-title`, tabIndex: -1 },
      h("h2", { id: `${id}-title` }, title),
      this.body,
    );
    /** Only the newest of several loads is shown. */
    this.turn = 0;
    this.failed = false;
  }

  /** Load again; what is shown stays until the answer is there. */
  async refresh() {
    const turn = (this.turn += 1);
    this.element.setAttribute("aria-busy", "true");
    if (!this.body.hasChildNodes() || this.failed) fill(this.body, ...skeleton(this.rows));
    try {
      const found = await this.load();
      if (turn === this.turn) this.settle(found);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (turn === this.turn) this.fail(error);
    } finally {
      if (turn === this.turn) this.element.removeAttribute("aria-busy");
    }
  }

  /**
   * Show a document.
   * @param {any} found
   */
  settle(found) {
    this.failed = false;
    fill(this.body, ...[this.show(found, this)].flat());
  }

  /** @param {Failure} failure */
  fail(failure) {
    this.failed = true;
    announce(`${this.title}: ${failure.message}`);
    fill(
      this.body,
      problem(failure),
      // What the plan does not include is not there the next time either.
      failure.status !== 403 &&
        h(
          "button",
          {
            type: "button",
            "aria-label": `Try again: ${this.title}`,
            onclick: async () => {
              await this.refresh();
              this.element.focus();
            },
          },
          "Try again",
        ),
    );
  }
}

/** @param {number} rows */
function skeleton(rows) {
  return [
    h("p", { className: "unseen" }, "Loading…"),
    ...Array.from({ length: rows }, () => h("div", { className: "bone", "aria-hidden": "true" })),
    h("p", { className: "slow-note", "aria-hidden": "true" }, "This takes longer than usual…"),
  ];
}

/**
 * Say why something is not there, and what to do.
 * @param {Failure} failure
 */
export function problem(failure) {
  return h(
    "div",
    { className: failure.status === 403 ? "problem calm" : "problem" },
    h("p", { className: "problem-what" }, failure.message),
    ...hints(failure).map((hint) => h("p", {}, hint)),
    failure.requestId &&
      h("p", { className: "small" }, "Request ", h("code", {}, failure.requestId)),
  );
}

/**
 * @param {Failure} failure
 * @returns {string[]}
 */
function hints(failure) {
  const said = failure.hint ? [failure.hint] : [];
  if (failure.resetsAt) said.push(`The quota resets on ${moment(failure.resetsAt)}.`);
  if (failure.retryAfter) said.push(`Try again in ${plural(failure.retryAfter, "second")}.`);
  return said;
}

/**
 * Carry out a change that a form or a button asks for; tell what came of it beside it.
 * @param {HTMLElement} outcome where to tell; its role makes it heard
 * @param {HTMLButtonElement} button cannot be pressed twice meanwhile
 * @param {() => Promise<string>} act resolves to what to say
 */
export async function attempt(outcome, button, act) {
  button.disabled = true;
  fill(outcome, "Saving…");
  try {
    fill(outcome, h("span", { className: "good" }, await act()));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    fill(outcome, problem(error));
  } finally {
    button.disabled = false;
  }
}
