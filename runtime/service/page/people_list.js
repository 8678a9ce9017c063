// Who is enrolled, in pages by name; deleted after a question.

import { call } from "./api.js";
import { announce, busy, byId, element, personName, showProblem } from "./dom.js";
import { day, plural } from "./format.js";

const PAGE = 50;
const LAST = "\u{10ffff}";

export class PeopleList {
  constructor() {
    this.list = byId("people-list");
    this.more = byId("people-more");
    this.from = byId("people-from");
    this.problem = byId("people-problem");
    this.start = ""; // the name that the list starts at
    this.last = "";
    this.loaded = false;
    this.more.addEventListener("click", () => busy(this.more, "Loading…", () => this.load({ next: true })));
    this.from.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start = byId("people-start").value.trim();
      busy(this.from.querySelector("button"), "Loading…", () => this.load());
    });
  }

  /** People from the start of the list, or the next page of them. */
  async load({ next = false } = {}) {
    if (!this.loaded) byId("people-count").textContent = "Loading…";
    const after = next ? this.last : before(this.start);
    const query = new URLSearchParams({ limit: String(PAGE), ...(after ? { after } : {}) });
    try {
      const { content } = await call("GET", `v1/people?${query}`);
      const people = content.people ?? [];
      const rows = people.map((person) => this.row(person));
      if (next) this.list.append(...rows);
      else this.list.replaceChildren(...rows);
      this.last = people.at(-1)?.person ?? this.last;
      this.more.hidden = "next" in content ? !content.next : people.length < PAGE;
      if (next) rows[0]?.querySelector("button").focus();
      this.loaded = true;
      this.showCount();
      showProblem(this.problem, null);
      announce(byId("people-count").textContent);
    } catch (error) {
      if (!this.loaded) byId("people-count").textContent = "";
      showProblem(this.problem, error);
    }
  }

  showCount() {
    const shown = this.list.children.length;
    const all = this.more.hidden && !this.start;
    if (!all) this.from.hidden = false;
    const none = this.start ? "Nobody from that name on." : "Nobody is enrolled yet.";
    const some = `${plural(shown, "person", "people")}${all ? "" : " shown"}${this.more.hidden ? "" : ", more below"}`;
    byId("people-count").textContent = shown ? some : none;
  }

  row(person) {
    const faces = Array.isArray(person.faces) ? person.faces.length : person.faces;
    const remove = element(
      "button",
      { type: "button", class: "quiet", "aria-label": `Delete ${person.person}` },
      "Delete",
    );
    const meta = element("p", { class: "note" }, plural(faces, "face", "faces"), ...since(person.enrolled));
    const item = element("li", {}, element("div", {}, personName(person.person), meta), remove);
    remove.addEventListener("click", () => this.remove(person.person, item));
    return item;
  }

  async remove(person, item) {
    if (!(await confirmed(person))) return;
    try {
      await call("DELETE", `v1/people/${encodeURIComponent(person)}`);
    } catch (error) {
      if (error.status !== 404) {
        showProblem(this.problem, error);
        return;
      } // else somebody else has deleted them
    }
    showProblem(this.problem, null);
    const neighbor = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    this.showCount();
    (neighbor?.querySelector("button") ?? byId("title-people")).focus();
    announce(`Deleted ${person}.`);
  }
}

/** What comes right before a name, in the order of code points, that people are listed in. */
export function before(name) {
  const letters = [...name];
  const code = letters.pop()?.codePointAt(0) ?? 0;
  if (code <= 0x20) return letters.join("");
  return `${letters.join("")}${String.fromCodePoint(code === 0xe000 ? 0xd7ff : code - 1)}${LAST}`;
}

function since(moment) {
  return moment ? [" · since ", element("time", { datetime: moment }, day(moment))] : [];
}

/** Ask whether somebody is to be deleted. Escape keeps them; the focus goes back to where it was. */
function confirmed(person) {
  const dialog = byId("confirm");
  byId("confirm-text").replaceChildren(
    personName(person),
    " and all embeddings of their faces are erased. This cannot be undone.",
  );
  return new Promise((resolve) => {
    let answer = false;
    const yes = () => {
      answer = true;
      dialog.close();
    };
    const no = () => dialog.close();
    byId("confirm-yes").addEventListener("click", yes);
    byId("confirm-no").addEventListener("click", no);
    dialog.addEventListener(
      "close",
      () => {
        byId("confirm-yes").removeEventListener("click", yes);
        byId("confirm-no").removeEventListener("click", no);
        resolve(answer);
      },
      { once: true },
    );
    dialog.showModal();
    byId("confirm-no").focus();
  });
}
