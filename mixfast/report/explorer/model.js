// The model of the page: what it predicts for each metric at any mixture.

import { Gaussian } from "./gaussian.js";
import { COEFFICIENTS } from "./laws.js";
import { Rows, Squares } from "./table.js";

const LAWS = { ...COEFFICIENTS, gp: Gaussian, rows: Rows, square: Squares };

export class Model {
  /** `data` holds the domains, the metrics, and the laws with the positions of their metrics. */
  constructor(data) {
    this.domains = data.domains;
    this.metrics = data.metrics;
    // Losses of a table have no intervals.
    this.intervals = data.intervals ?? true;
    this.owner = [];
    for (const part of data.laws) {
      const law = new LAWS[part.kind](part);
      part.metrics.forEach((j, i) => (this.owner[j] = [law, i]));
    }
    // Values and slopes by the array of shares, which nobody writes into: a drag asks for those of its start at every update.
    this.known = new WeakMap();
  }

  at(shares) {
    if (!this.known.has(shares)) this.known.set(shares, { values: [], slopes: [] });
    return this.known.get(shares);
  }

  /** Return the prediction for metric j at shares. */
  value(j, shares) {
    const [law, i] = this.owner[j];
    return (this.at(shares).values[j] ??= law.value(i, shares));
  }

  /** Return the standard deviation of a new run's metric j; NaN while it would need a long computation first. */
  sd(j, shares) {
    const [law, i] = this.owner[j];
    return law.pending?.(i) ? NaN : law.sd(i, shares);
  }

  /** Return the options of `mixfast solve` that make metric j of a table the objective. */
  objective(j) {
    const [law, i] = this.owner[j];
    return law.objective(this.metrics.slice(1).map((one) => one.name), i);
  }

  values(shares) {
    return this.metrics.map((_, j) => this.value(j, shares));
  }

  /** Prepare the error bars of one more metric; return whether there was one. */
  prepareNext() {
    for (const [law, i] of this.owner) {
      if (law.pending?.(i)) {
        law.prepare(i);
        return true;
      }
    }
    return false;
  }

  /** Return the gradient of metric j by the shares, up to an addition to all. */
  slopes(j, shares) {
    const [law, i] = this.owner[j];
    return (this.at(shares).slopes[j] ??= law.slopes(i, shares));
  }

  /**
   * Return a rising function of metric j that is more nearly linear in the shares than the metric itself, and its slope.
   *
   * For a metric that never reaches a bound it is the logarithm of the distance to it: exactly linear for log-linear laws.
   */
  straight(j) {
    const [law, i] = this.owner[j];
    const bound = law.bound?.(i);
    if (!bound) return { of: (value) => value, slope: () => 1 };
    const [at, side] = bound;
    const away = (value) => Math.max(side * (value - at), 1e-300);
    return { of: (value) => side * Math.log(away(value)), slope: (value) => 1 / away(value) };
  }
}
