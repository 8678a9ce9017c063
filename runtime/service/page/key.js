// The API key: asked for when the service refuses a call, kept in this tab.

import { byId } from "./dom.js";

const NAME = "efq-api-key";
let kept = "";
let asking = null;

/** The key given in this tab, empty for none. */
export function storedKey() {
  try {
    return sessionStorage.getItem(NAME) ?? kept;
  } catch {
    return kept; // a browser that keeps nothing
  }
}

function keep(key) {
  kept = key;
  try {
    sessionStorage.setItem(NAME, key);
  } catch {
    // it stays in `kept`
  }
}

/** Ask for the key, once for all calls that wait for it. Empty when the dialog was closed without one. */
export function askKey(refusal) {
  asking ??= ask(refusal).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(refusal) {
  const dialog = byId("key");
  const field = byId("key-value");
  byId("key-problem").textContent = refusal;
  field.value = "";
  return new Promise((resolve) => {
    let given = "";
    const submit = (event) => {
      event.preventDefault();
      given = field.value.trim();
      if (!/^[\x21-\x7e]+$/.test(given)) {
        byId("key-problem").textContent = given ? "A key has no spaces and no accents." : "Type the key, or cancel.";
        field.focus();
        return;
      }
      keep(given);
      dialog.close();
    };
    const cancel = () => dialog.close();
    byId("key-form").addEventListener("submit", submit);
    byId("key-no").addEventListener("click", cancel);
    dialog.addEventListener(
      "close",
      () => {
        byId("key-form").removeEventListener("submit", submit);
        byId("key-no").removeEventListener("click", cancel);
        field.value = "";
        resolve(given);
      },
      { once: true },
    );
    dialog.showModal();
    field.focus();
  });
}
