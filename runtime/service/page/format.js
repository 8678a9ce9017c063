// Numbers in words that people read.

const GAP = "\u00a0";
const MOST_DIGITS = 4;

/** A cosine as a percentage, 0.5237 -> "52.4 %". */
export function percent(cosine, digits = 1) {
  const value = (100 * cosine).toFixed(digits);
  return `${Number(value) === 0 ? value.replace("-", "") : value}${GAP}%`.replace("-", "\u2212");
}

/** Two cosines with as many digits as it takes to tell them apart. */
export function percents(first, second) {
  let digits = 1;
  while (digits < MOST_DIGITS && first !== second && percent(first, digits) === percent(second, digits)) digits += 1;
  return [percent(first, digits), percent(second, digits)];
}

/** A false match rate in words, 1e-4 -> "1 in 10,000". */
export function oneIn(fmr) {
  return `1 in ${Math.round(1 / fmr).toLocaleString("en")}`;
}

/** A false match rate as commands take it, 0.0001 -> "1e-4". */
export function rate(fmr) {
  return fmr.toExponential().replace("e+0", "");
}

export function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)}${GAP}ms` : `${Math.round(value).toLocaleString("en")}${GAP}ms`;
}

export function bytes(count) {
  if (count < 1000) return `${count}${GAP}B`;
  if (count < 1e6) return `${Math.round(count / 1e3)}${GAP}kB`;
  return `${(count / 1e6).toFixed(1)}${GAP}MB`;
}

export function plural(count, one, many) {
  return `${count.toLocaleString("en")}${GAP}${count === 1 ? one : many}`;
}

/** An ISO 8601 moment as a day in the reader's own order; as it is where it is none. */
export function day(moment) {
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? String(moment) : date.toLocaleDateString(undefined, { dateStyle: "medium" });
}
