// How a similarity is shown: in words, in figures beside the threshold, and on a scale.

import { drawing, element, icon } from "./dom.js";
import { percents } from "./format.js";

/** "Match" or "No match", by a sign and a word. */
export function verdict(accepted, words) {
  return element(
    "span",
    { class: `verdict ${accepted ? "good" : "bad"}` },
    icon(accepted ? "check" : "cross"),
    element("span", {}, words),
  );
}

/** "52.4 %", ", above the threshold of 31.0 %", with as many digits as tell both apart. */
export function figures(similarity, threshold) {
  const [found, least] = percents(similarity, threshold);
  return [
    element("strong", {}, found),
    `, ${similarity > threshold ? "above" : "not above"} the threshold of ${least}`,
  ];
}

/** A bar from 0 to 100 % with a mark at the threshold. What it shows is said in words beside it. */
export function scale(similarity, threshold, { labels = true } = {}) {
  const place = (value) => `${Math.min(Math.max(100 * value, 0), 100).toFixed(2)}%`;
  const accepted = similarity > threshold;
  const bar = drawing(
    "svg",
    { class: labels ? "scale" : "scale small", "aria-hidden": "true" },
    drawing("rect", { class: "track", x: "0", y: "4", width: "100%", height: "12", rx: "3" }),
    drawing("rect", {
      class: accepted ? "value good" : "value",
      x: "0",
      y: "4",
      width: place(similarity),
      height: "12",
      rx: "3",
    }),
  );
  bar.append(drawing("line", { class: "mark", x1: place(threshold), x2: place(threshold), y1: "0", y2: "20" }));
  if (!labels) return bar;
  const middle = Math.min(Math.max(threshold, 0.22), 0.75); // clear of both ends
  bar.append(
    drawing("text", { x: "0", y: "37" }, "0 %"),
    drawing("text", { class: "threshold", x: place(middle), y: "37", "text-anchor": "middle" }, "threshold"),
    drawing("text", { x: "100%", y: "37", "text-anchor": "end" }, "100 %"),
  );
  return bar;
}

/** An aligned crop of an answer, or nothing where there is none: only base64 of a picture is one. */
export function crop(data, words) {
  if (typeof data !== "string" || !/^[A-Za-z0-9+/]+=*$/.test(data)) return null;
  const kind = data.startsWith("/9j/") ? "jpeg" : "png";
  return element(
    "figure",
    { class: "crop" },
    element("img", { src: `data:image/${kind};base64,${data}`, alt: `${words}, aligned`, width: "112", height: "112" }),
    element("figcaption", {}, words),
  );
}

/** Sentences on faces that a photo had besides the one taken. */
export function otherFaces(faces, names) {
  return (Array.isArray(faces) ? faces : [])
    .map((face, place) => (face?.found > 1 ? `${names[place]} has ${face.found} faces; the largest was taken.` : null))
    .filter(Boolean)
    .map((sentence) => element("p", { class: "note" }, sentence));
}
