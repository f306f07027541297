// Texts of values. Amounts come as exact decimal texts; what is shown is rounded, the title has every digit.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** A text from an event, with characters that control or reorder what is shown written as escapes. */
export function printable(text) {
  return String(text).replace(HIDDEN, (found) => {
    const code = found.codePointAt(0);
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
}

/** The value of a field, which may be absent. */
export const shown = (value) => (value === null || value === undefined || value === "" ? "(none)" : printable(value));

const numbers = (least, most = least) => new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most });
const whole = numbers(0);
const cents = numbers(2);
const small = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 2, minimumSignificantDigits: 2 });
const large = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

/** An amount. `isRough` leaves out the cents of amounts of $10 and more. */
export function money(text, isRough = false) {
  if (text === null || text === undefined) return "unknown";
  const value = Number(text);
  const size = Math.abs(value);
  const digits = isRough && size >= 10 ? whole.format(size) : size === 0 || size >= 0.095 ? cents.format(size) : small.format(size);
  return `${value < 0 ? "-" : ""}$${digits}`;
}

export const count = (value) => whole.format(value);
export const short = (value) => (Math.abs(value) < 100000 ? whole.format(value) : large.format(value));

export function share(part, of) {
  if (!of) return "–";
  const percent = (100 * part) / of;
  return `${percent !== 0 && Math.abs(percent) < 9.95 ? numbers(1).format(percent) : whole.format(percent)} %`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${whole.format(ms)} ms`;
  return ms < 100000 ? `${numbers(1).format(ms / 1000)} s` : `${numbers(1).format(ms / 60000)} min`;
}

/** A function that writes amounts with one number of decimals, so that they align: two digits of the least of them, at most 6 places. */
export function amounts(texts) {
  const least = Math.min(...texts.map((text) => Math.abs(Number(text))).filter((size) => size > 0), 1);
  const places = least >= 0.095 ? 2 : Math.min(6, 1 - Math.floor(Math.log10(least)));
  const format = numbers(places);
  return (text) => (text === null || text === undefined ? "unknown" : `${Number(text) < 0 ? "-" : ""}$${format.format(Math.abs(Number(text)))}`);
}

/** The value of a metric. */
export function value(metric, given) {
  if (metric === "latency_ms") return duration(given);
  if (metric === "cost_usd" || metric === "cache_saved_usd") return money(given);
  return given === null ? "–" : count(given);
}

export function when(text, zone) {
  const options = { timeZone: zone || undefined, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  try {
    return new Intl.DateTimeFormat("en-GB", options).format(new Date(text));
  } catch {
    return printable(text);
  }
}

/** A table as CSV: texts that a spreadsheet would run as a formula get an apostrophe. */
export function csv(head, rows) {
  const cell = (given) => {
    const text = given === null || given === undefined ? "" : String(given);
    const safe = typeof given === "string" && /^[=+\-@\t\r]/.test(text) && !/^-?[0-9.]+$/.test(text) ? `'${text}` : text;
    const visible = printable(safe);
    return /[",\n]/.test(visible) ? `"${visible.replaceAll('"', '""')}"` : visible;
  };
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
