// The enrolled people, and how one is added: a name, photos and consent.

import { call } from "./api.js";
import { announce, busy, byId, element, personName, showProblem } from "./dom.js";
import { plural } from "./format.js";
import { PeopleList } from "./people_list.js";
import { PhotoPlace, namePhotos } from "./photos.js";
import { crop } from "./verdict.js";

const MOST_PHOTOS = 10;

export class PeopleView {
  constructor(service) {
    this.service = service;
    this.form = byId("enroll");
    this.list = new PeopleList();
    this.places = [
      new PhotoPlace(byId("enroll-photos"), {
        label: "Photos of one person",
        most: () => Math.min(MOST_PHOTOS, service.answer.limits?.images ?? MOST_PHOTOS),
        room: () => service.room,
      }),
    ];
    byId("enroll-jump").addEventListener("click", () => byId("enroll-name").focus());
    this.form.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      busy(this.form.querySelector(".primary"), "Enrolling…", () => this.enroll());
    });
  }

  setGallery(gallery) {
    byId("people-off").hidden = Boolean(gallery);
    byId("people-on").hidden = !gallery;
    this.gallery = gallery;
  }

  /** When the view is shown. */
  async enter() {
    if (this.gallery && !this.list.loaded) await this.list.load();
  }

  async enroll() {
    const name = byId("enroll-name");
    const consent = byId("enroll-consent");
    const problem = byId("enroll-problem");
    showProblem(problem, null);
    byId("enroll-done").textContent = "";
    name.setAttribute("aria-invalid", String(!name.value.trim()));
    consent.setAttribute("aria-invalid", String(!consent.checked));
    try {
      if (!name.value.trim()) throw missing(name, "A name is missing.");
      const images = await this.places[0].images();
      if (!consent.checked)
        throw missing(consent, "Nobody is enrolled without consent: tick the box once it is given.");
      const { content } = await call("POST", "v1/people", {
        person: name.value.trim(),
        images,
        faces: this.places[0].ids,
        take: "single", // of several faces in a photo nobody knows whose is enrolled
        crops: true,
      });
      await this.done(content.person ?? name.value.trim(), content.faces?.length ?? images.length, content.crops ?? []);
    } catch (error) {
      showProblem(problem, namePhotos(error, this.places));
    }
  }

  async done(person, faces, crops) {
    this.places[0].clear();
    this.form.reset();
    byId("enroll-name").focus();
    const counted = plural(faces, "face", "faces");
    byId("enroll-done").replaceChildren(
      element("p", {}, "Enrolled ", personName(person), ` with ${counted}.`),
      element("div", { class: "crops" }, ...crops.map((data, place) => crop(data, `Face ${place + 1}`))),
    );
    await this.list.load();
    announce(`Enrolled ${person} with ${counted}.`);
  }
}

function missing(field, words) {
  field.focus();
  return new Error(words);
}
