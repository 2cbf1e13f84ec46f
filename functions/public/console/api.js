// @ts-check
/** Requests to the API, and what can become of them. */

/** How long to wait: a little longer than API Gateway does. */
const PATIENCE_MS = 35_000;

/** Why there is no answer, in words for a person. */
export class Failure extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string, hint?: string, requestId?: string,
   *   retryAfter?: number, resetsAt?: string}} [facts]
   */
  constructor(message, facts = {}) {
    super(message);
    this.status = facts.status ?? 0;
    this.code = facts.code ?? "";
    this.hint = facts.hint ?? "";
    this.requestId = facts.requestId ?? "";
    this.retryAfter = facts.retryAfter ?? 0;
    this.resetsAt = facts.resetsAt ?? "";
  }

  /** Whether the key (or, for operators, this session) is not accepted. */
  get unauthorized() {
    return this.status === 401;
  }
}

/** Asks the API. What it proves itself with is in this object's memory and nowhere else. */
export class Api {
  /** @type {Readonly<Record<string, string>>} */
  #proof;

  /**
   * @param {Record<string, string>} proof the header that lets a request in
   * @param {(failure: Failure) => void} refused called when the proof is not accepted
   */
  constructor(proof, refused) {
    this.#proof = { ...proof };
    this.refused = refused;
    /** The API lies beside the page, whatever stage or address that is. */
    this.base = new URL(".", document.baseURI);
  }

  /**
   * GET a document.
   * @param {string} path relative to the API's base
   * @returns {Promise<any>}
   */
  async get(path) {
    return json(await this.#send("GET", path, "application/json"));
  }

  /**
   * GET a document in another form.
   * @param {string} path
   * @param {string} mediaType
   */
  async read(path, mediaType) {
    return this.#send("GET", path, mediaType);
  }

  /**
   * Change something.
   * @param {"POST" | "PUT" | "DELETE"} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   */
  async change(method, path, body) {
    return json(await this.#send(method, path, "application/json", body));
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {string} accept
   * @param {unknown} [body]
   * @returns {Promise<Response>}
   */
  async #send(method, path, accept, body) {
    /** @type {Record<string, string>} */
    const headers = { ...this.#proof, Accept: accept };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(new URL(path, this.base), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
    } catch (error) {
      throw unreachable(error);
    }
    if (response.ok) return response;
    const failure = await refusal(response);
    if (failure.unauthorized) this.refused(failure);
    throw failure;
  }
}

/**
 * @param {Response} response
 * @returns {Promise<any>}
 */
async function json(response) {
  try {
    return await response.json();
  } catch {
    throw new Failure("The answer is not what the API says.", { status: response.status });
  }
}

/**
 * @param {unknown} error
 * @returns {Failure}
 */
function unreachable(error) {
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return new Failure("The API did not answer in time.", { hint: "Try again in a moment." });
  }
  return navigator.onLine
    ? new Failure("The API cannot be reached.", { hint: "Check the connection, then try again." })
    : new Failure("You are offline.", { hint: "It can be tried again when the connection is back." });
}

/**
 * Read an error envelope; what is not one gets words of its own.
 * @param {Response} response
 * @returns {Promise<Failure>}
 */
async function refusal(response) {
  const status = response.status;
  const envelope = await response.json().catch(() => ({}));
  const details = envelope.details ?? {};
  return new Failure(envelope.error ?? `The API answered with status ${status}.`, {
    status,
    code: envelope.error_code ?? "",
    hint: details.hint ?? "",
    requestId: envelope.request_id ?? "",
    retryAfter: Number(response.headers.get("Retry-After") ?? 0),
    resetsAt: details.resets_at ?? "",
  });
}

/**
 * Where a customer's documents are, by who asks. What is not there has no panel.
 * @typedef {object} Places
 * @property {string} usage
 * @property {string} history
 * @property {string} forecast
 * @property {string} advice
 * @property {string} subscription
 * @property {string} statements
 * @property {string} pricing
 * @property {string} alerts
 * @property {string} webhook
 * @property {string} budget
 * @property {string} credentials
 * @property {string} keys
 * @property {string} trail
 * @property {string} margin
 */

/** @type {Readonly<Partial<Places>>} */
export const OF_CUSTOMER = {
  usage: "usage",
  history: "usage/history",
  forecast: "usage/forecast",
  advice: "usage/recommendations",
  subscription: "subscription",
  pricing: "pricing",
  statements: "api/billing/history",
  alerts: "alerts",
  webhook: "alerts/webhook",
  budget: "budget",
  credentials: "api/byok-credentials",
};

/**
 * @param {string} customerId
 * @returns {Readonly<Partial<Places>>}
 */
export function ofOperator(customerId) {
  const customer = `admin/customers/${encodeURIComponent(customerId)}`;
  return {
    usage: `${customer}/usage`,
    history: `${customer}/usage-history`,
    forecast: `${customer}/forecast`,
    advice: `${customer}/recommendations`,
    alerts: `${customer}/alerts`,
    margin: `${customer}/margin`,
    subscription: `${customer}/subscription`,
    statements: `${customer}/statements`,
    keys: `${customer}/keys`,
    trail: `${customer}/audit-trail`,
  };
}
