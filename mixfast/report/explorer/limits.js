// The limits of the region: which of them a mixture breaks, and the nearest mixture that meets them.

import { dot, percent, unpack } from "./numbers.js";
import { project } from "./projection.js";

const ROUNDING = 1e-9;

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

  /** Return floors, caps and group limits as `project` takes them, with the shares of `fixed` domains kept. */
  box(shares, fixed) {
    const kept = (k, end) => (fixed.has(k) ? shares[k] : end);
    return {
      floor: Float64Array.from(this.floor, (one, k) => kept(k, one)),
      cap: Float64Array.from(this.cap, (one, k) => kept(k, one)),
      rows: this.bounds.map(({ row, lower, upper }) => ({ row, low: lower, high: upper })),
    };
  }

  /** Return the mixture with the least KL divergence from `shares` that meets the limits and keeps the shares of `fixed` domains. */
  nearest(shares, fixed) {
    const { floor, cap, rows } = this.box(shares, fixed);
    return project(shares, floor, cap, rows).shares;
  }
}
