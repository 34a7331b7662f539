// What can go wrong, said for people.

/** An answer that is an error, or status 0 for no answer at all. */
export class ApiError extends Error {
  constructor(status, code, detail, retryAfterS = 2) {
    super(detail);
    Object.assign(this, { status, code, retryAfterS });
  }
}

// Those that are not about one picture or one request: the page tells them once, above everything.
const OUTAGES = {
  unreachable: "The server does not answer. Is it still running?",
  embedding_unavailable: "The embedding service is down: faces can be neither recognised nor enrolled until it is back.",
  gallery_unavailable: "The gallery’s database cannot be reached.",
  gallery_model_mismatch: "The gallery was made with another model. Delete its samples, or go back to that model.",
  overloaded: "The server has more work than it can take. Try again in a moment.",
  rate_limited: "Too many requests within a minute. Try again later.",
  unauthorized: "This server asks for a key.",
};

export const isOutage = (error) => error instanceof ApiError && error.code in OUTAGES;

/** Whether the service as a whole cannot work, whoever asks it. */
export const isDown = ({ code }) =>
  ["unreachable", "embedding_unavailable", "gallery_unavailable", "gallery_model_mismatch"].includes(code);

/** Say what went wrong. */
export function explain(error) {
  if (!(error instanceof ApiError)) return `This did not work: ${error.message}`;
  if (error.code === "internal_error") return "Something went wrong in the server; its log has more.";
  return OUTAGES[error.code] ?? error.message;
}

/** Say in `node` what went wrong, unless the page tells it above everything. */
export function complain(node, error) {
  node.textContent = isOutage(error) ? "" : explain(error);
}
