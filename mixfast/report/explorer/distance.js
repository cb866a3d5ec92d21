// How far a mixture is from the runs that the laws were fitted to, in words.

import { percent, row, unpack } from "./numbers.js";

/** Return the share of the tokens that differs between two mixtures. */
export function moved(one, other) {
  let sum = 0;
  for (let k = 0; k < one.length; k++) sum += Math.abs(one[k] - other[k]);
  return sum / 2;
}

export class Runs {
  constructor(data, domains) {
    this.domains = domains;
    // A table of experts has no runs.
    this.unknown = data === null;
    if (this.unknown) return;
    this.largest = unpack(data.largest);
    this.constant = data.constant;
    this.most = data.most && unpack(data.most);
    this.rate = data.rate && unpack(data.rate);
    const shares = data.shares ? unpack(data.shares) : new Float64Array(0);
    const count = shares.length / domains.length;
    this.shares = Array.from({ length: count }, (_, r) => row(shares, r, domains.length));
    this.apart = data.apart;
  }

  /** Return the domains whose shares no run has seen, and the distance from the nearest run, once for each mixture. */
  at(shares) {
    if (this.given !== shares) [this.given, this.seen] = [shares, { far: this.far(shares), near: this.nearest(shares) }];
    return this.seen;
  }

  /** Return why a share of domain k is outside what any run has seen; empty if it is inside. */
  beyond(k, share) {
    if (this.unknown) return "";
    const fixed = this.constant[k];
    if (fixed !== null && Math.abs(share - fixed) > 1e-3) return `every run has ${percent(fixed)}`;
    if (fixed === null && share > this.largest[k] * (1 + 1e-6) + 1e-6) return `at most ${percent(this.largest[k])} in any run`;
    if (this.most && share * this.rate[k] > this.most[k] * (1 + 1e-6)) return `at most ${this.most[k].toPrecision(3)} epochs in any run`;
    return "";
  }

  /** Return the domains whose shares no run has seen. */
  far(shares) {
    return new Set(shares.flatMap((share, k) => (this.beyond(k, share) ? [k] : [])));
  }

  /** Return why a mixture is outside what any run has seen; nothing if it is inside. */
  outside(shares) {
    const { far, near } = this.at(shares);
    const out = [...far].map((k) => `${this.domains[k]}: ${this.beyond(k, shares[k])}`);
    if (near !== null && near > this.apart) {
      out.push(`${percent(near)} of the tokens differ from the nearest run; any run is within ${percent(this.apart)} of another`);
    }
    return out;
  }

  /** Return the share of the tokens that differs from the nearest run; null if the runs are unknown. */
  nearest(shares) {
    return this.shares?.length ? Math.min(...this.shares.map((run) => moved(run, shares))) : null;
  }
}
