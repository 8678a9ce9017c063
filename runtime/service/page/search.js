// One photo: who of the enrolled people is most similar?

import { call } from "./api.js";
import { AskingView, answered } from "./asking.js";
import { byId, element, icon, personName } from "./dom.js";
import { percent, percents } from "./format.js";
import { PhotoPlace } from "./photos.js";
import { crop, otherFaces, scale, verdict } from "./verdict.js";

const EVERYBODY = -1; // cosine: the page says itself who is above the threshold

export class SearchView extends AskingView {
  constructor(service, decision) {
    const place = new PhotoPlace(byId("search-photo"), { label: "Photo", room: () => service.room });
    super("search", decision, [place], "Searching");
  }

  setGallery(gallery) {
    byId("search-off").hidden = Boolean(gallery);
    this.form.hidden = !gallery;
    if (!gallery) this.forget();
  }

  ask([image], _decision) {
    const k = Number(byId("search-count").value);
    return call("POST", "v1/search", { image, k, threshold: EVERYBODY, crops: true });
  }

  get matches() {
    return this.answer.content.matches ?? [];
  }

  get above() {
    return this.matches.filter(({ similarity }) => similarity > this.decision.threshold);
  }

  several() {
    return this.above.length > 1 ? `; ${this.above.length} people are above it` : "";
  }

  sentence() {
    if (!this.matches.length) return "Nobody is enrolled.";
    if (!this.above.length) return "Nobody is above the threshold.";
    const [best] = this.above;
    const counted = `${this.above.length} of ${this.matches.length}`;
    return `Match: ${best.person}, ${percent(best.similarity)}. Above the threshold: ${counted}.`;
  }

  outcome() {
    const { crops, faces } = this.answer.content;
    const found = this.above.length > 0;
    const best = found ? personName(this.above[0].person, "span") : null;
    const words = found ? element("span", {}, "Match: ", best) : "Nobody above the threshold";
    return element(
      "section",
      { class: "card outcome", "aria-labelledby": "search-verdict" },
      element("div", { class: "crops" }, crop(Array.isArray(crops) ? crops[0] : null, "Your photo")),
      element(
        "div",
        { class: "finding" },
        element("h3", { id: "search-verdict" }, verdict(found, this.matches.length ? words : "Nobody is enrolled yet")),
        element(
          "p",
          { class: "note" },
          `Threshold ${percent(this.decision.threshold)}${this.several()}. ${this.decision.meaning}`,
        ),
        this.matches.length
          ? element("ol", { class: "matches" }, ...this.matches.map((match) => this.row(match)))
          : null,
        ...otherFaces(faces, ["The photo"]),
        element("p", { class: "note" }, answered(this.answer)),
      ),
    );
  }

  row({ person, similarity }) {
    const { threshold } = this.decision;
    const accepted = similarity > threshold;
    return element(
      "li",
      { class: accepted ? "good" : "" },
      element(
        "div",
        { class: "match-line" },
        personName(person),
        element("span", { class: "number" }, percents(similarity, threshold)[0]),
      ),
      scale(similarity, threshold, { labels: false }),
      element(
        "p",
        { class: "note" },
        icon(accepted ? "check" : "cross"),
        accepted ? "Above the threshold" : "Not above the threshold",
      ),
    );
  }
}
