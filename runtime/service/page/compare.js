// Two photos: are they of one person?

import { call } from "./api.js";
import { AskingView, answered } from "./asking.js";
import { byId, element } from "./dom.js";
import { PhotoPlace } from "./photos.js";
import { crop, figures, otherFaces, scale, verdict } from "./verdict.js";

const NAMES = ["First photo", "Second photo"];

export class CompareView extends AskingView {
  constructor(service, decision) {
    const places = ["compare-first", "compare-second"].map(
      (id, place) =>
        new PhotoPlace(byId(id), { label: NAMES[place], room: () => service.room - places[1 - place].size }),
    );
    places[0].next = places[1];
    super("compare", decision, places, "Comparing");
  }

  ask(images, decision) {
    return call("POST", "v1/verify", { images, ...decision, crops: true });
  }

  get similarity() {
    return this.answer.content.similarity;
  }

  get words() {
    return this.similarity > this.decision.threshold ? "Match" : "No match";
  }

  sentence() {
    const [found, rest] = figures(this.similarity, this.decision.threshold);
    return `${this.words}. Similarity ${found.textContent}${rest}.`;
  }

  outcome() {
    const { threshold } = this.decision;
    const { crops, faces } = this.answer.content;
    const shown = (Array.isArray(crops) ? crops : []).map((data, place) => crop(data, NAMES[place]));
    return element(
      "section",
      { class: "card outcome", "aria-labelledby": "compare-verdict" },
      element("div", { class: "crops" }, ...shown),
      element(
        "div",
        { class: "finding" },
        element("h3", { id: "compare-verdict" }, verdict(this.similarity > threshold, this.words)),
        element("p", { class: "figure" }, "Similarity ", ...figures(this.similarity, threshold)),
        scale(this.similarity, threshold),
        element("p", { class: "note" }, this.decision.meaning),
        ...otherFaces(faces, NAMES),
        element("p", { class: "note" }, answered(this.answer)),
      ),
    );
  }
}
