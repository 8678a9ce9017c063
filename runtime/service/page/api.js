// The service's HTTP API: JSON in and out, errors as one kind, an API key where the service asks for one.

import { askKey, storedKey } from "./key.js";

const PATIENCE = 60_000; // milliseconds

/** Why a call did not work, in a sentence, with the id under which the service knows the request. */
export class ServiceError extends Error {
  constructor(message, { status = 0, code = "", requestId = "" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

/** Call the service; `milliseconds` is the round trip, `inside` what the service says that it took, or null. */
export async function call(method, path, body = null) {
  let key = storedKey();
  let refused = null;
  for (;;) {
    try {
      return await callOnce(method, path, body, key);
    } catch (error) {
      if (error.status !== 401) throw error;
      error.message = key ? "The service does not know this API key." : "The service answers to its API key only.";
      refused = error;
    }
    const newer = storedKey();
    key = newer !== key && newer ? newer : await askKey(key ? refused.message : "");
    if (!key) throw refused;
  }
}

async function callOnce(method, path, body, key) {
  const headers = { Accept: "application/json" };
  if (body !== null) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  const start = performance.now();
  const response = await answerOf(path, {
    method,
    headers,
    body: body === null ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
    signal: AbortSignal.timeout(PATIENCE),
  });
  const content = await contentOf(response);
  const taken = performance.now() - start;
  if (!response.ok) throw errorOf(response, content);
  return { content: content ?? {}, milliseconds: taken, inside: insideOf(response) };
}

async function answerOf(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new ServiceError(
      late
        ? `The service gave no answer within ${PATIENCE / 1000} seconds. Try again, or with smaller photos.`
        : "The service cannot be reached. Is it running, and are you connected to it?",
    );
  }
}

async function contentOf(response) {
  try {
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  } catch {
    if (!response.ok) return null;
    throw new ServiceError("The answer is no JSON: is something between this page and the service?", {
      requestId: response.headers.get("X-Request-ID") ?? "",
    });
  }
}

function errorOf(response, content) {
  const envelope = content?.error ?? {};
  const wait = response.headers.get("Retry-After");
  const again = wait && /^\d+$/.test(wait) ? ` Try again in ${wait} s.` : "";
  const found = typeof envelope.message === "string" && envelope.message;
  return new ServiceError(
    sentence(found || `The service answered with status ${response.status} and gave no reason.`) + again,
    {
      status: response.status,
      code: String(envelope.code ?? ""),
      requestId: String(envelope.request_id ?? response.headers.get("X-Request-ID") ?? ""),
    },
  );
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

function insideOf(response) {
  const found = /dur=([\d.]+)/.exec(response.headers.get("Server-Timing") ?? "");
  return found ? Number(found[1]) : null;
}
