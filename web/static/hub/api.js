/* The JSON API for the pages' own use: the session's cookie, and one sentence when it refuses. */

import { gettext } from "./words.js";

// The API's own `detail` is for whoever writes programs, and most of it English.
const SENTENCES = {
  bad_origin: () => gettext("This page is out of date. Reload it and try again."),
  unauthorized: () => gettext("You are signed out. Sign in and try again."),
  forbidden: () => gettext("You may not do this, or it is no longer there."),
  not_found: () => gettext("This is no longer there, or not yours to see."),
  conflict: () => gettext("This was changed in the meantime. Reload the page and try again."),
  too_large: () => gettext("This is too long. Shorten it and try again."),
  bad_request: () => gettext("This was not accepted. Check what you entered."),
  invalid: () => gettext("This was not accepted. Check what you entered."),
  too_many_requests: () => gettext("That was a lot at once. Wait a moment and try again."),
  unavailable: () => gettext("The hub is busy or being restarted. Try again in a moment."),
  internal_error: () => gettext("Something went wrong in the hub. Try again in a moment."),
};

const PATIENCE = 30_000; // ms for an answer: longer than the hub takes for anything the pages ask

export class ApiError extends Error {
  constructor(status, { code = "", detail, fields = {} } = {}) {
    super(sentence(status, code) ?? detail ?? gettext("That didn’t work. Try again."));
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.fields = fields;
  }
}

function sentence(status, code) {
  if (code === "timeout")
    return gettext("The hub didn’t answer. Look whether it was done before you try again.");
  if (status === 0) return gettext("The hub can’t be reached. Try again in a moment.");
  const known = Object.hasOwn(SENTENCES, code) ? code : status >= 500 && "internal_error";
  return known ? SENTENCES[known]() : undefined;
}

export const get = (path) => call("GET", path);
export const send = (method, path, body) => call(method, path, body);

async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") {
    headers["Content-Type"] = "application/json";
    headers["X-CSRFToken"] = document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
  }
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    answer = response.status === 204 ? {} : await response.json();
  } catch (error) {
    if (response?.ok || error.name === "TimeoutError") throw new ApiError(0, { code: "timeout" });
    if (!response) throw new ApiError(0);
    answer = {}; // somebody on the way refused it, in their own words
  }
  if (response.ok) return answer;
  throw new ApiError(response.status, answer.error);
}
