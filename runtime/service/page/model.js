// The model in use: what the service says of itself.

import { byId, element } from "./dom.js";
import { bytes, oneIn, percent, plural, rate } from "./format.js";

const USUAL_BODY = 16_000_000; // bytes
const OF_JSON = 0.74; // base64 has four characters for three bytes

export class Service {
  constructor() {
    this.answer = {};
  }

  get known() {
    return "name" in this.answer;
  }

  /** [{fmr, threshold}], the highest FMR first. */
  get points() {
    const found = this.answer.thresholds ?? [];
    const points = Array.isArray(found)
      ? found.map(({ fmr, threshold }) => ({ fmr, threshold }))
      : Object.entries(found).map(([fmr, threshold]) => ({ fmr: Number(fmr), threshold }));
    return points.filter(({ fmr, threshold }) => fmr > 0 && Number.isFinite(threshold)).sort((a, b) => b.fmr - a.fmr);
  }

  get gallery() {
    const { gallery, template } = this.answer;
    return gallery === undefined ? (template ? { template } : null) : gallery;
  }

  get detector() {
    const found = this.answer.detector;
    return found && typeof found === "object" ? (found.name ?? found.kind ?? "yes") : (found ?? null);
  }

  /** Bytes that all photos of a request may have. */
  get room() {
    return Math.floor((this.answer.limits?.body_bytes ?? USUAL_BODY) * OF_JSON);
  }

  get size() {
    const { height, width, size } = this.answer.input ?? {};
    return height && width ? [width, height] : Array.isArray(size) ? size : null;
  }
}

/** One line on the model, for the foot of the page. */
export function showSummary(service) {
  const { name, sha256, backend } = service.answer;
  byId("summary").replaceChildren(
    "Model ",
    element("bdi", {}, name ?? "unnamed"),
    sha256 ? element("code", {}, ` ${sha256.slice(0, 12)}`) : "",
    backend ? ` · ${backend}` : "",
    ` · ${service.detector ? `detector ${service.detector}` : "no detector, aligned crops only"}`,
  );
}

export function showModel(service) {
  const { name, sha256, embedding_size: size, backend } = service.answer;
  const rows = [
    ["Name", element("bdi", {}, name ?? "unnamed")],
    ["SHA-256", sha256 ? element("code", { title: sha256 }, `${sha256.slice(0, 12)}…`) : "not said"],
    ["Embedding", size ? plural(size, "number", "numbers") : "not said"],
    ["Backend", backend ?? "not said"],
    ["Detector", service.detector ?? `none: photos are to be aligned faces${cropSize(service)}`],
    ["Gallery", galleryWords(service.gallery)],
    ["Photos", `at most ${bytes(service.room)} a request`],
  ];
  byId("model").replaceChildren(
    element("dl", {}, ...rows.flatMap(([term, what]) => [element("dt", {}, term), element("dd", {}, what)])),
    ...thresholds(service.points),
  );
}

/** What photos have to be, for the views; empty where a detector finds the faces in any. */
export function cropSentence(service) {
  if (service.detector) return "";
  return `This service has no detector: it takes aligned faces${cropSize(service)}, no photos.`;
}

function cropSize(service) {
  return service.size ? ` of ${service.size[0]} × ${service.size[1]} pixels` : "";
}

function galleryWords(gallery) {
  if (!gallery) return "none: search and people are off";
  const { people, faces, template } = gallery;
  const counted = Number.isFinite(people)
    ? `${plural(people, "person", "people")}, ${plural(faces ?? 0, "face", "faces")}`
    : "yes";
  return template ? `${counted}; a probe is compared with “${template}”` : counted;
}

function thresholds(points) {
  if (!points.length) {
    return [
      element(
        "p",
        { class: "notice" },
        "No threshold is certified for this artifact. Give one of your own, or certify: ",
        element("code", {}, "efq-bench --certify"),
        ".",
      ),
    ];
  }
  const head = ["False match rate", "Different people above it", "Threshold"].map((words) =>
    element("th", { scope: "col" }, words),
  );
  const rows = points.map(({ fmr, threshold }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, rate(fmr)),
      element("td", {}, `${oneIn(fmr)} pairs`),
      element("td", {}, percent(threshold, 2)),
    ),
  );
  return [
    element(
      "table",
      {},
      element("caption", {}, "Thresholds by false match rate"),
      element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...rows),
    ),
  ];
}
