// Moves of a mixture: one domain gets another share, and the domains that are not locked adapt.

import { total } from "./numbers.js";

/** Give domain k a share; the others that are free keep their proportions, whatever the limits. */
export function inProportion(shares, k, share, locked, prior) {
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

/** Give domain k a share, as far as the limits allow; the others change by the least KL divergence within the limits. */
export function withinLimits(shares, k, share, locked, limits) {
  const others = shares.map((_, i) => i).filter((i) => i !== k && !locked.has(i));
  if (!others.length) return shares;
  const free = 1 - total(shares.filter((_, i) => i !== k && locked.has(i)));
  const least = Math.max(limits.floor[k], free - total(others.map((i) => limits.cap[i])), 0);
  const most = Math.min(limits.cap[k], free - total(others.map((i) => limits.floor[i])));
  const given = Math.max(Math.min(share, most), least);
  const start = inProportion(shares, k, given, locked, limits.prior).map((one) => Math.max(one, 1e-15));
  return limits.nearest(start.map((one, i) => (i === k ? given : locked.has(i) ? shares[i] : one)), new Set([...locked, k]));
}
