// @ts-check
/** Elements, made without HTML in strings: nothing that the API answers can become markup. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [props] properties, attributes (with a dash or `role`), `on…`
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (name.includes("-") || ATTRIBUTES.has(name)) {
      element.setAttribute(name, value === true ? "" : String(value));
    } else {
      Reflect.set(element, name, value);
    }
  }
  element.append(...visible(children));
  return element;
}

/** Names that are attributes only, or whose property has another name. */
const ATTRIBUTES = new Set(["role", "for", "scope", "list", "colspan", "datetime"]);

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function visible(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Replace what an element holds.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...visible(children));
}

/**
 * Return the element of the page with an id.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no #${id}.`);
  return found;
}

/**
 * Tell people who listen to the page what just happened.
 * @param {string} text
 */
export function announce(text) {
  const announcer = byId("announcer");
  // The same words twice are two announcements.
  announcer.textContent = "";
  requestAnimationFrame(() => {
    announcer.textContent = text;
  });
}

/**
 * Make a table. The first cell of a row is its heading.
 * @param {string} caption
 * @param {{name: string, number?: boolean}[]} columns
 * @param {Child[][]} rows
 * @param {{hidden?: boolean}} [options] `hidden`: the caption is for screen readers only
 */
export function table(caption, columns, rows, options = {}) {
  return h(
    "div",
    { className: "scroll", role: "group", "aria-label": caption, tabIndex: 0 },
    h(
      "table",
      {},
      h("caption", { className: options.hidden ? "unseen" : "" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(({ name, number }) =>
            h("th", { scope: "col", className: number ? "number" : "" }, name),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((cells) =>
          h(
            "tr",
            {},
            cells.map((cell, index) =>
              index === 0
                ? h("th", { scope: "row" }, cell)
                : h("td", { className: columns[index]?.number ? "number" : "" }, cell),
            ),
          ),
        ),
      ),
    ),
  );
}

/**
 * Make a list of facts.
 * @param {[string, Child | Child[]][]} pairs
 */
export function facts(pairs) {
  return h(
    "dl",
    { className: "facts" },
    pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, ...[value].flat()))),
  );
}

/**
 * Ask a question in a dialog of its own; resolve to whether the answer was yes.
 * @param {{title: string, body: Child[], yes: string, no?: string, grave?: boolean}} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, body, yes, no = "Keep it as it is", grave = false }) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      {
        "aria-labelledby": "question",
        onclose: () => {
          resolve(dialog.returnValue === "yes");
          dialog.remove();
        },
      },
      h("h2", { id: "question" }, title),
      ...body,
      h(
        "div",
        { className: "row end" },
        h("button", { type: "button", onclick: () => dialog.close("no") }, no),
        h(
          "button",
          {
            type: "button",
            className: grave ? "grave" : "primary",
            onclick: () => dialog.close("yes"),
          },
          yes,
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Let the reader save a text as a file.
 * @param {string} name
 * @param {Blob} content
 */
export function save(name, content) {
  const url = URL.createObjectURL(content);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
