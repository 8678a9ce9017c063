// A view that asks the service one thing of photos and shows the answer, again for each choice of a threshold.

import { DecisionControl } from "./decision.js";
import { announce, busy, byId, reveal, showProblem } from "./dom.js";
import { milliseconds } from "./format.js";
import { namePhotos } from "./photos.js";

export class AskingView {
  /** name: of the form and of what belongs to it. doing: what is said meanwhile. */
  constructor(name, decision, places, doing) {
    this.decision = decision;
    this.places = places;
    this.form = byId(name);
    this.problem = byId(`${name}-problem`);
    this.result = byId(`${name}-result`);
    this.answer = null;
    this.turn = 0;
    this.control = new DecisionControl(this.form.querySelector(".decision"), decision, name);
    for (const place of places) place.changed = () => this.forget();
    decision.listeners.push(() => this.show());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      busy(this.form.querySelector(".primary"), `${doing}…`, () => this.run(doing));
    });
  }

  async run(doing) {
    this.forget();
    const { turn } = this;
    announce(`${doing}.`);
    let problem = null;
    let answer = null;
    try {
      const images = [];
      for (const place of this.places) images.push(...(await place.images()));
      answer = await this.ask(images, this.decision.request(this.control.root));
    } catch (error) {
      problem = namePhotos(error, this.places);
    }
    if (turn !== this.turn) return; // other photos are there by now
    this.answer = answer;
    showProblem(this.problem, problem);
    if (!answer) return;
    this.show();
    reveal(this.result);
    announce(this.sentence());
  }

  forget() {
    this.turn += 1;
    this.answer = null;
    this.result.replaceChildren();
    showProblem(this.problem, null);
  }

  show() {
    const known = this.answer && this.decision.threshold !== null;
    this.result.replaceChildren(...(known ? [this.outcome()] : []));
  }
}

/** How long it took. */
export function answered({ milliseconds: taken, inside }) {
  const whole = `Answered in ${milliseconds(taken)}`;
  return inside === null ? `${whole}.` : `${whole}, of which ${milliseconds(inside)} in the service.`;
}
