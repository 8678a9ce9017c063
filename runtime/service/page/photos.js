// Places for photos: chosen, dropped, pasted or taken; shown as they are, sent as they are.

import { element, icon } from "./dom.js";
import { bytes } from "./format.js";
import { ServiceError } from "./api.js";

let numbered = 0;

export class PhotoPlace {
  /** label: what the place is for. most, room: functions that give the photos it holds, and their bytes together. */
  constructor(root, { label, most = () => 1, room }) {
    this.label = label;
    this.most = most;
    this.room = room;
    this.photos = [];
    this.changed = () => {};
    this.root = root;
    root.classList.add("photos");
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", label);
    this.input = this.fileInput({ multiple: most() > 1 });
    this.previews = element("span", { class: "previews" });
    this.title = element("span", { class: "drop-title" }, label);
    this.hint = element("span", { class: "drop-hint" });
    this.drop = element(
      "label",
      { class: "drop", for: this.input.id },
      icon("photo"),
      this.previews,
      this.title,
      this.hint,
    );
    const camera = this.fileInput({ capture: "user" });
    this.camera = element("label", { class: "button camera", for: camera.id }, "Take a photo", unseen(`: ${label}`));
    this.clearButton = element(
      "button",
      { type: "button", class: "clear", title: "Remove", click: () => this.clear() },
      icon("cross"),
      unseen(`Remove: ${label}`),
    );
    this.problem = element("div", { class: "place-problem", role: "alert" });
    root.append(this.input, this.drop, this.clearButton, camera, this.camera, this.problem);
    this.acceptDrops();
    this.show();
  }

  /** Take files as far as there is room, the last ones in place of earlier ones; returns those left over. */
  take(files) {
    const given = [...files];
    if (!given.length) return [];
    const { several } = this;
    const taken = given.slice(0, several ? Math.max(this.most() - this.photos.length, 0) : 1);
    const left = given.slice(taken.length);
    const refused = [];
    for (const file of taken) {
      const refusal = this.refusal(file, this.room() - (several ? this.size : 0));
      if (refusal) {
        refused.push(refusal);
        continue;
      }
      if (!several) this.forget();
      this.photos.push({ file, url: URL.createObjectURL(file), id: newId() });
    }
    if (left.length && several) refused.push(`At most ${this.most()} photos at once; ${left.length} left out.`);
    this.show(refused.join(" "));
    this.changed();
    return left;
  }

  clear() {
    this.forget();
    this.show();
    this.changed();
    this.input.focus();
  }

  /** Under which the photos are enrolled: the same when it is tried again, so that none is enrolled twice. */
  get ids() {
    return this.photos.map(({ id }) => id);
  }

  /** The photos as the API takes them. Throws where there is none, after the focus went to this place. */
  async images() {
    if (!this.photos.length) {
      this.input.focus();
      const what = this.several
        ? "Photos are missing: choose, drop or paste some."
        : `${this.label} is missing: choose, drop or paste one.`;
      throw new ServiceError(what);
    }
    return Promise.all(this.photos.map(async ({ file }) => ({ data: await base64(file) })));
  }

  fileInput(attributes) {
    numbered += 1;
    return element("input", {
      type: "file",
      accept: "image/*",
      class: "unseen",
      id: `photo-${numbered}`,
      ...attributes,
      change: (event) => {
        const files = [...event.target.files];
        event.target.value = ""; // the same file may be chosen again
        this.pass(files);
      },
    });
  }

  /** What does not fit here goes to the next place, if somebody set one. */
  pass(files) {
    const left = this.take(files);
    if (left.length && this.next) this.next.pass(left);
  }

  get several() {
    return this.most() > 1;
  }

  get size() {
    return this.photos.reduce((sum, { file }) => sum + file.size, 0);
  }

  refusal(file, room) {
    const name = quoted(file);
    if (!file.size) return `${name} is empty, or a folder.`;
    if (file.type && !file.type.startsWith("image/")) return `${name} is no picture (${file.type}).`;
    if (file.size <= room) return "";
    return `${name} has ${bytes(file.size)}, and there is room for ${bytes(Math.max(room, 0))} in one request.`;
  }

  forget() {
    for (const { url } of this.photos) URL.revokeObjectURL(url);
    this.photos = [];
  }

  show(problem = "") {
    const some = this.photos.length > 0;
    this.drop.classList.toggle("filled", some);
    this.previews.replaceChildren(...this.photos.map((photo) => preview(photo)));
    const names = this.photos.map(({ file }) => file.name);
    this.title.replaceChildren(
      ...(some ? [unseen(`${this.label}: `), element("bdi", {}, names.join(", "))] : [this.label]),
    );
    const again = this.several ? "add more" : "choose another";
    this.hint.textContent = some ? `${bytes(this.size)}, ${again}` : "Choose, drop or paste";
    this.clearButton.hidden = !some;
    this.problem.textContent = problem;
  }

  acceptDrops() {
    this.drop.addEventListener("dragover", () => this.drop.classList.add("over"));
    this.drop.addEventListener("dragleave", () => this.drop.classList.remove("over"));
    this.drop.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.drop.classList.remove("over");
      this.pass(event.dataTransfer.files);
    });
  }
}

/** The service counts images from 0; here they have names. */
export function namePhotos(error, places) {
  const names = places.flatMap((place) =>
    place.photos.map(({ file }) => (place.several ? quoted(file) : `the ${place.label.toLowerCase()}`)),
  );
  error.message = error.message.replace(/\bimage (\d+)\b/g, (words, place) => names[Number(place)] ?? words);
  return error;
}

/** Files pasted or dropped anywhere on the page go to the first of these places that is empty, or to the last one. */
export function receiveFiles(placesShown) {
  const give = (files) => {
    const places = placesShown();
    const place = places.find((each) => !each.photos.length || each.several) ?? places.at(-1);
    if (place && files.length) place.pass(files);
    return Boolean(place && files.length);
  };
  document.addEventListener("paste", (event) => {
    if (event.target.matches?.("input:not([type=file])") || document.querySelector("dialog[open]")) return;
    if (give(event.clipboardData?.files ?? [])) event.preventDefault();
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // else the browser leaves the page and shows the file
    document.querySelector(".drop.over")?.classList.remove("over");
    if (!document.querySelector("dialog[open]")) give(event.dataTransfer?.files ?? []);
  });
}

function preview({ file, url }) {
  const image = element("img", { src: url, alt: "", draggable: "false" });
  image.addEventListener("error", () => {
    const ending = file.name.includes(".") ? file.name.split(".").at(-1).slice(0, 5).toUpperCase() : "file";
    image.replaceWith(element("span", { class: "no-preview" }, ending)); // the service may know the format all the same
  });
  return image;
}

/** A file's name in its own direction of writing. */
function quoted({ name }) {
  return `“\u2068${name}\u2069”`;
}

/** 32 hexadecimal digits at random. */
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unseen(text) {
  return element("span", { class: "unseen" }, text);
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.addEventListener("error", () =>
      reject(new ServiceError(`${quoted(file)} cannot be read: is it a folder? Choose again.`)),
    );
    reader.readAsDataURL(file);
  });
}
