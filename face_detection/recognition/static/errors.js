// What can go wrong, said for people.

/** An answer that is an error, or status 0 for no answer at all. */
export class ApiError extends Error {
  constructor(status, code, detail, retryAfterS = 2) {
    super(detail);
    Object.assign(this, { status, code, retryAfterS });
  }
}

// Those that are not about one picture or one request, like every 503: the page tells them once, above everything.
// What has no text here is told in the service's own words.
const OUTAGES = {
  unreachable: "The server does not answer. Is it still running?",
  gallery_model_mismatch: "The gallery was made with another model. Change it to this one (Gallery), or go back to that model.",
  overloaded: "The server is overloaded. Try again in a moment.",
  rate_limited: "Too many requests within a minute. Try again later.",
  unauthorized: "This server requires a key.",
};

export const isOutage = (error) => error instanceof ApiError && (error.status === 503 || error.code in OUTAGES);

/** Whether the service as a whole cannot work, whoever asks it. */
export const isDown = ({ status, code }) =>
  code !== "overloaded" && (status === 503 || code === "unreachable" || code === "gallery_model_mismatch");

// Those whose text is for programs: it tells ids, or what to send.
const REFUSALS = {
  ambiguous_name: "Several people have this name. Choose one from the list.",
  internal_error: "Something went wrong on the server. Its log says more.",
  not_calibrated: "Too few people are enrolled to tell how strangers look. Let the distance decide.",
};

/** Say what went wrong. */
export function explain(error) {
  if (!(error instanceof ApiError)) return error.message;
  return OUTAGES[error.code] ?? REFUSALS[error.code] ?? error.message;
}

/** Make a function that does some work, and says in `message` what goes wrong; what was said there, and in `others`, goes first. */
export const attempting = (message, ...others) => async (work) => {
  for (const node of [message, ...others]) node.textContent = "";
  try {
    await work();
  } catch (error) {
    complain(message, error);
  }
};

/** Say in `node` what went wrong, unless the page tells it above everything. */
export function complain(node, error) {
  node.textContent = isOutage(error) ? "" : explain(error);
}
