// Building elements. Everything that a service or a person wrote comes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  check: "M4 12.5l5.5 5.5L20 6.5",
  cross: "M6 6l12 12M18 6L6 18",
  photo:
    "M6 5h12a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2zm-1.5 12l4.7-5 3.6 3.8L15 13.5l4.5 4.5",
  warning: "M12 4.5l8.5 15h-17zM12 10.5v4M12 17.200v.01",
};

export function byId(id) {
  return document.getElementById(id);
}

/** An element. Of attributes null and false are left out, true is empty, functions listen. children: text or nodes. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function icon(name) {
  return drawing(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" },
    drawing("path", { d: ICONS[name] }),
  );
}

/** A name that a person gave, in its own direction of writing. */
export function personName(name, tag = "strong") {
  return element(tag, { class: "name" }, element("bdi", {}, name));
}

/** Say something to those who do not see the page change. */
export function announce(sentence) {
  const region = byId("announcement");
  region.textContent = "";
  setTimeout(() => {
    region.textContent = sentence;
  }, 50);
}

/** Scroll to a result that came below what the window shows. */
export function reveal(place) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  place.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

/** Show why something did not work, in an element that is an alert; nothing for null. */
export function showProblem(place, error) {
  place.replaceChildren();
  if (error === null) return;
  place.append(
    element(
      "div",
      { class: "problem" },
      icon("warning"),
      element(
        "div",
        {},
        element("p", {}, error.message),
        error.requestId ? element("p", { class: "note" }, "Request ", element("code", {}, error.requestId)) : null,
      ),
    ),
  );
}

/** Run `work` while a button says so; a second press meanwhile does nothing. The button keeps the focus. */
export async function busy(button, words, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const label = button.textContent;
  button.setAttribute("aria-disabled", "true");
  button.textContent = words;
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
    button.textContent = label;
  }
}
