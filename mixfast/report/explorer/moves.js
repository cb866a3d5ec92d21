// Moves of a mixture: one domain gets another share, and the domains that are not locked adapt.

import { total } from "./numbers.js";
import { project } from "./projection.js";

/** Give domain k a share; the others that are free keep their proportions, whatever the limits. */
export function inProportion(shares, k, share, locked, { prior }) {
  const free = shares.map((_, i) => i !== k && !locked.has(i));
  const held = total(shares.filter((_, i) => i !== k && locked.has(i)));
  if (!free.includes(true)) return shares;
  const given = Math.min(Math.max(share, 0), 1 - held);
  // Domains that have nothing have no proportions: they share by the prior.
  let from = shares;
  let sum = total(shares.filter((_, i) => free[i]));
  if (sum < 1e-12) {
    from = prior.map((one) => one + 1e-12);
    sum = total(from.filter((_, i) => free[i]));
  }
  return shares.map((one, i) => (i === k ? given : free[i] ? (from[i] / sum) * (1 - held - given) : one));
}

// A domain without a share cannot grow by a factor: it starts from this.
const SEED = 1e-15;

/** Give domain k a share, as far as the limits allow; the others change by the least KL divergence within the limits. */
export function withinLimits(shares, k, share, locked, limits) {
  const near = inProportion(shares, k, share, locked, limits).map((one, i) => (locked.has(i) && i !== k ? shares[i] : Math.max(one, SEED)));
  const { floor, cap, rows } = limits.box(shares, new Set([...locked].filter((i) => i !== k)));
  const wish = { row: shares.map((_, i) => (i === k ? 1 : 0)), low: share, high: share, goal: true };
  const found = project(near, floor, cap, [wish, ...rows]).shares;
  // What only its seed has let in stays out.
  return found.map((one, i) => (i !== k && shares[i] === 0 && one < 1e-12 ? floor[i] : one));
}
