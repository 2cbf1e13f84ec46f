// @ts-check
/** Numbers, money and instants as people read them. Instants are in UTC, as billing is. */

const NUMBER = new Intl.NumberFormat("en");
const MONEY = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const UTC = /** @type {const} */ ({ timeZone: "UTC" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", ...UTC });
const DATE = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  ...UTC,
});
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...UTC });
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", ...UTC });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** @param {number} value */
export const number = (value) => NUMBER.format(value);

/** @param {number} value */
export const compact = (value) => COMPACT.format(value);

/** @param {number} dollars */
export const money = (dollars) => MONEY.format(dollars);

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const plural = (count, one, many = `${one}s`) =>
  `${number(count)} ${count === 1 ? one : many}`;

/** @param {string} day a day, or an instant */
export const day = (day) => DAY.format(new Date(day));

/** @param {string} day a day, or an instant */
export const date = (day) => DATE.format(new Date(day));

/** @param {string | Date} instant */
export const time = (instant) => `${TIME.format(new Date(instant))} UTC`;

/** @param {string} instant */
export const moment = (instant) => `${date(instant)}, ${time(instant)}`;

/** @param {string} period such as `2026-11` */
export const month = (period) => MONTH.format(new Date(`${period}-01T00:00:00Z`));

/**
 * Say how far it is from one instant to another: `in 6 days`.
 * @param {string} from
 * @param {string} to
 */
export function distance(from, to) {
  const minutes = (Date.parse(to) - Date.parse(from)) / 60_000;
  const size = Math.abs(minutes);
  if (size < 90) return RELATIVE.format(Math.round(minutes), "minute");
  if (size < 48 * 60) return RELATIVE.format(Math.round(minutes / 60), "hour");
  return RELATIVE.format(Math.round(minutes / 1440), "day");
}

/** @param {string} word */
export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);
