// What decides: the artifact's threshold for a false match rate, or one of the reader's own; for all views at once.

import { ServiceError } from "./api.js";
import { element } from "./dom.js";
import { oneIn, percent, rate } from "./format.js";

const USUAL = 1e-4;
const OWN = "own";

export class Decision {
  constructor() {
    this.points = [];
    this.chosen = OWN;
    this.own = null;
    this.controls = [];
    this.listeners = [];
  }

  /** points: [{fmr, threshold}]. standard: what the service decides at; else the usual or the lowest FMR is chosen. */
  setPoints(points, standard) {
    this.points = points;
    const wanted = standard?.fmr ?? USUAL;
    const place = points.findIndex(({ fmr }) => fmr <= wanted * (1 + 1e-6)); // the highest FMR comes first
    this.own = standard?.threshold ?? null;
    if (this.own !== null || !points.length) this.chosen = OWN;
    else this.chosen = String(place < 0 ? points.length - 1 : place);
    for (const control of this.controls) control.build();
  }

  /** The cosine above which two faces match; null while the reader gave none. */
  get threshold() {
    return this.point ? this.point.threshold : this.own;
  }

  get point() {
    return this.chosen === OWN ? null : this.points[Number(this.chosen)];
  }

  /** How the API is told. Throws where there is no threshold, after the focus went to its field. */
  request(place) {
    if (this.point) return { fmr: this.point.fmr };
    if (this.own === null) {
      this.controls.find(({ root }) => root === place)?.field.focus();
      throw new ServiceError("A threshold is missing: give one from −100 to 100 %.");
    }
    return { threshold: this.own };
  }

  /** What the threshold stands for, in words. */
  get meaning() {
    const point = this.point;
    if (!point) return "The threshold is one of your own; no false match rate is known for it.";
    return `About ${oneIn(point.fmr)} pairs of different people would be above it (FMR ${rate(point.fmr)}).`;
  }

  choose(chosen, own) {
    this.chosen = chosen;
    this.own = own;
    for (const control of this.controls) control.show();
    for (const listener of this.listeners) listener();
  }
}

/** The two fields for it in a view. */
export class DecisionControl {
  constructor(root, decision, name) {
    this.root = root;
    this.decision = decision;
    this.select = element("select", {
      id: `${name}-fmr`,
      change: () => decision.choose(this.select.value, decision.own),
    });
    this.field = element("input", {
      id: `${name}-threshold`,
      type: "number",
      min: "-100",
      max: "100",
      step: "any",
      inputmode: "decimal",
      change: () => decision.choose(OWN, this.read()),
    });
    this.ownField = element(
      "div",
      { class: "field" },
      element("label", { for: `${name}-threshold` }, "Threshold, %"),
      this.field,
    );
    root.append(
      element(
        "div",
        { class: "field" },
        element("label", { for: `${name}-fmr` }, "False matches allowed"),
        this.select,
      ),
      this.ownField,
    );
    decision.controls.push(this);
    this.build();
  }

  build() {
    const options = this.decision.points.map(({ fmr, threshold }, place) =>
      element("option", { value: String(place) }, `${oneIn(fmr)} · threshold ${percent(threshold)}`),
    );
    this.select.replaceChildren(...options, element("option", { value: OWN }, "A threshold of your own"));
    this.show();
  }

  show() {
    const { chosen, own } = this.decision;
    this.select.value = chosen;
    this.ownField.hidden = chosen !== OWN;
    if (document.activeElement !== this.field) this.field.value = own === null ? "" : String(+(100 * own).toFixed(6));
  }

  read() {
    const value = this.field.value === "" ? Number.NaN : Number(this.field.value);
    return value >= -100 && value <= 100 ? value / 100 : null;
  }
}
