// What a client does after a connection ended. HTTP answers are spoken of in the same codes.

const RETURN = "resume"; // with the cursor, after the back-off
const WAIT = "wait"; // the same, but not before PATIENCE or what the server asked for
const SIGN_IN = "sign-in"; // one immediate retry, then somebody has to sign in
const STOP = "stop";

const AFTER = new Map([
  [1009, STOP],
  [4000, STOP],
  [4400, STOP],
  [4401, SIGN_IN],
  [4403, STOP],
  [4409, STOP],
  [4413, STOP],
  [4429, WAIT],
]);

const OF_STATUS = new Map([
  [400, 4400],
  [401, 4401],
  [403, 4403],
  [413, 4413],
  [414, 4413],
  [429, 4429],
  [431, 4413],
]);

const PATIENCE = 5; // seconds after "too fast"
const LONGEST = 20; // seconds, whatever n is

/** A code that nobody named is a fault of the way: come back. */
export function afterClose(code) {
  return AFTER.get(code) ?? RETURN;
}

export function codeOfStatus(status) {
  return OF_STATUS.get(status) ?? (status >= 500 ? 1011 : 1006);
}

/** Seconds to wait before attempt n (from 0); `dice` is in [0, 1). */
export function backOff(n, dice) {
  return dice * Math.min(LONGEST, 0.5 * 2 ** Math.min(n, 10));
}

/** Seconds that nothing shortens, not even somebody who comes back to the tab. */
export function leastPause(code, retryAfter = 0) {
  return afterClose(code) === WAIT ? Math.max(PATIENCE, retryAfter) : retryAfter;
}

/** Seconds before the next attempt, with what the server asked for. */
export function pause(code, n, dice, retryAfter = 0) {
  return leastPause(code, retryAfter) + backOff(n, dice);
}
