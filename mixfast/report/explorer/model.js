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
  }

  /** Return the prediction for metric j at shares. */
  value(j, shares) {
    const [law, i] = this.owner[j];
    return law.value(i, shares);
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

  /** Return the slope of metric j as each domain gets more and the others keep their proportions, by central differences for laws. */
  slopes(j, shares) {
    const [law, i] = this.owner[j];
    if (law.slopes) return law.slopes(i, shares);
    const step = 1e-5;
    return shares.map((share, k) => {
      const toward = (t) => shares.map((one, i) => (1 - t) * one + (i === k ? t : 0));
      // Away from a domain that has no share there is nowhere to go.
      const back = share > step ? step : 0;
      return (this.value(j, toward(step)) - this.value(j, toward(-back))) / (step + back);
    });
  }
}
