// The page: asks the service what it is, shows one view at a time, by the address's hash.

import { call } from "./api.js";
import { CompareView } from "./compare.js";
import { Decision } from "./decision.js";
import { byId, element, showProblem } from "./dom.js";
import { Service, cropSentence, showModel, showSummary } from "./model.js";
import { PeopleView } from "./people.js";
import { receiveFiles } from "./photos.js";
import { SearchView } from "./search.js";

const service = new Service();
const decision = new Decision();
const views = {
  compare: new CompareView(service, decision),
  search: new SearchView(service, decision),
  people: new PeopleView(service),
  model: { enter: refresh },
};
let shown = "compare";

function show(name, { focus }) {
  shown = name;
  for (const each of Object.keys(views)) byId(`view-${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector(`nav a[href="#${name}"]`).textContent} · EFQ faces`;
  if (focus) byId(`title-${name}`).focus();
  views[name].enter?.();
}

function follow({ focus }) {
  const name = location.hash.slice(1);
  if (Object.hasOwn(views, name)) show(name, { focus });
  else if (!name) show("compare", { focus });
}

/** Ask the service what it is; false where it does not answer. */
async function ask() {
  const place = byId("unreachable");
  showProblem(place, null);
  try {
    service.answer = (await call("GET", "v1/model")).content;
    return true;
  } catch (error) {
    showProblem(place, error);
    place.firstElementChild.append(element("button", { type: "button", click: begin }, "Try again"));
    return false;
  }
}

/** How many people are enrolled changes meanwhile. */
async function refresh() {
  if (service.known && (await ask())) showModel(service);
}

async function begin() {
  if (!(await ask())) return;
  decision.setPoints(service.points, service.answer.default);
  for (const view of Object.values(views)) view.setGallery?.(service.gallery);
  for (const note of document.querySelectorAll(".crops-only")) note.textContent = cropSentence(service);
  showSummary(service);
  showModel(service);
  if (shown === "people") views.people.enter();
}

window.addEventListener("hashchange", () => follow({ focus: true }));
receiveFiles(() => views[shown].places ?? []);
follow({ focus: false });
begin();
