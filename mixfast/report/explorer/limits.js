// The limits of the region: which of them a mixture breaks, and the nearest mixture that meets them.

import { dot, percent, total, unpack } from "./numbers.js";

const ROUNDING = 1e-9;
const SWEEPS = 200;
const HALVINGS = 80;
// Exponents beyond which every share is at a limit; exp of it is still finite.
const FAR = 700;

/** Find where a rising function of one number crosses a value. */
function crossing(rising, value, low, high) {
  for (let i = 0; i < HALVINGS; i++) {
    const middle = 0.5 * (low + high);
    if (rising(middle) < value) low = middle;
    else high = middle;
  }
  return 0.5 * (low + high);
}

export class Limits {
  constructor(data, domains) {
    this.domains = domains;
    this.floor = unpack(data.floor);
    this.cap = unpack(data.cap);
    this.prior = unpack(data.prior);
    this.bounds = data.bounds.map((one) => ({
      name: one.name,
      row: unpack(one.row),
      lower: one.lower ?? -Infinity,
      upper: one.upper ?? Infinity,
    }));
  }

  /** Return the limits that a mixture breaks, as sentences. */
  broken(shares) {
    const out = [];
    shares.forEach((share, k) => {
      const name = this.domains[k];
      if (share > this.cap[k] + ROUNDING) out.push(`${name}: ${percent(share)} is above the cap of ${percent(this.cap[k])}`);
      if (share < this.floor[k] - ROUNDING) out.push(`${name}: ${percent(share)} is below the floor of ${percent(this.floor[k])}`);
    });
    for (const { name, row, lower, upper } of this.bounds) {
      const sum = dot(row, shares);
      if (sum > upper + ROUNDING) out.push(`${name}: ${percent(sum)} is above the limit of ${percent(upper)}`);
      if (sum < lower - ROUNDING) out.push(`${name}: ${percent(sum)} is below the limit of ${percent(lower)}`);
    }
    return out;
  }

  /** Return the limits that a mixture stands at, in words. */
  binding(shares) {
    const near = (one, other) => Math.abs(one - other) < 1e-6;
    const out = [];
    shares.forEach((share, k) => {
      if (this.cap[k] < 1 && near(share, this.cap[k])) out.push(`the cap of ${this.domains[k]}`);
      if (this.floor[k] > 0 && near(share, this.floor[k])) out.push(`the floor of ${this.domains[k]}`);
    });
    for (const { name, row, lower, upper } of this.bounds) {
      const sum = dot(row, shares);
      if (near(sum, lower) || near(sum, upper)) out.push(`the limit of ${name}`);
    }
    return out;
  }

  /**
   * Return the mixture with the least KL divergence from `shares` that meets the limits and keeps the shares of `fixed` domains.
   *
   * Free shares are w_k exp(t + sum_b m_b A_bk), clipped to floor and cap: t makes the sum 1, and each m_b its limit, in turns.
   */
  nearest(shares, fixed) {
    const held = shares.map((share, k) => (fixed.has(k) ? share : 0));
    const free = 1 - total(held);
    const tilt = new Float64Array(shares.length);
    const tilted = (share, exponent) => (share > 0 ? share * Math.exp(Math.min(exponent, FAR)) : 0);
    const at = (t) => shares.map((share, k) => (fixed.has(k) ? share : Math.min(Math.max(tilted(share, tilt[k] + t), this.floor[k]), this.cap[k])));
    const whole = () => at(crossing((t) => total(at(t)) - total(held), free, -FAR, FAR));
    let out = whole();
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      const worst = this.bounds.find(({ row, lower, upper }) => dot(row, out) > upper + ROUNDING || dot(row, out) < lower - ROUNDING);
      if (!worst) break;
      const before = Float64Array.from(tilt);
      const sum = (m) => {
        worst.row.forEach((one, k) => (tilt[k] = before[k] + m * one));
        return dot(worst.row, whole());
      };
      const now = dot(worst.row, out);
      sum(crossing(sum, now > worst.upper ? worst.upper : worst.lower, -FAR, FAR));
      out = whole();
    }
    return out;
  }
}
