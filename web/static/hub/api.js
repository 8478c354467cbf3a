/* The JSON API for the pages' own use: the session's cookie, and one sentence when it refuses. */

import { gettext } from "./words.js";

export class ApiError extends Error {
  constructor(status, detail, fields = {}) {
    super(detail);
    this.status = status;
    this.fields = fields;
  }
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
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, gettext("The hub can’t be reached. Nothing was changed; try again."));
  }
  if (response.status === 204) return {};
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const { detail, fields } = answer.error ?? {};
  throw new ApiError(response.status, detail ?? gettext("That didn’t work. Try again."), fields);
}
