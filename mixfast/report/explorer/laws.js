// Laws with a few coefficients for each metric, as `mixfast.laws` evaluates them: the same formulas, in float64.
//
// A law has `size` metrics. `value(i, shares)` is the prediction of its metric i, `sd(i, shares)` the standard deviation of a new run.

import { dot, row, unpack } from "./numbers.js";

// The largest exponent, as in Python: predictions far from the runs are huge, but finite.
const HIGHEST = 300;
const power = (exponent) => Math.exp(Math.min(exponent, HIGHEST));

/** The covariance C of the coefficients of one metric, as a triangular factor R of its correlations: C = D R'R D. */
class Covariance {
  constructor({ used, scale, factor }) {
    this.used = used;
    this.scale = unpack(scale);
    this.factor = unpack(factor);
  }

  /** Return the variance v'Cv of a metric with the derivatives v by its coefficients. */
  variance(derivatives) {
    const size = this.used.length;
    const scaled = this.used.map((place, i) => derivatives[place] * this.scale[i]);
    let [sum, at] = [0, 0];
    for (let i = 0; i < size; i++) {
      let one = 0;
      for (let j = i; j < size; j++) one += this.factor[at++] * scaled[j];
      sum += one * one;
    }
    return sum;
  }
}

class Coefficients {
  constructor(data) {
    this.noise = unpack(data.noise);
    this.size = this.noise.length;
    this.covariance = data.covariance.map((one) => new Covariance(one));
  }

  sd(i, shares) {
    return Math.sqrt(this.variance(i, shares) + this.noise[i] ** 2);
  }

  variance(i, shares) {
    return this.covariance[i].variance(this.derivatives(i, shares));
  }
}

/** intercept + coef . w */
class Linear extends Coefficients {
  constructor(data) {
    super(data);
    this.intercept = unpack(data.intercept);
    this.coef = unpack(data.coef);
    this.centre = unpack(data.centre);
    this.runs = unpack(data.runs);
  }

  value(i, shares) {
    return this.intercept[i] + dot(shares, row(this.coef, i, shares.length));
  }

  variance(i, shares) {
    // The level at the runs' mean is a coefficient of its own, whose error is independent of the others.
    return this.noise[i] ** 2 / this.runs[i] + super.variance(i, shares);
  }

  derivatives(i, shares) {
    const centre = row(this.centre, i, shares.length);
    return shares.map((share, k) => share - centre[k]);
  }
}

/** exp(gamma) + exp(a . w) */
class LogLinear extends Coefficients {
  constructor(data) {
    super(data);
    this.gamma = unpack(data.gamma);
    this.a = unpack(data.a);
  }

  excess(i, shares) {
    return power(dot(shares, row(this.a, i, shares.length)));
  }

  value(i, shares) {
    return Math.exp(this.gamma[i]) + this.excess(i, shares);
  }

  derivatives(i, shares) {
    const excess = this.excess(i, shares);
    return [1, ...shares.map((share) => excess * share)];
  }
}

/** unit (level + scale sum_k (tokens (alpha_k + w_k))^-gamma_k) */
class AutoScale extends Coefficients {
  constructor(data) {
    super(data);
    this.theta = unpack(data.theta);
    this.unit = unpack(data.unit);
    this.tokens = data.tokens;
  }

  parts(i, shares) {
    const theta = row(this.theta, i, 2 + 2 * shares.length);
    const [alpha, gamma] = [theta.subarray(2, 2 + shares.length), theta.subarray(2 + shares.length)];
    const base = shares.map((share, k) => alpha[k] + share);
    const powers = base.map((one, k) => theta[1] * power(-gamma[k] * Math.log(this.tokens * one)));
    return { theta, gamma, base, powers };
  }

  value(i, shares) {
    const { theta, powers } = this.parts(i, shares);
    return (theta[0] + powers.reduce((sum, one) => sum + one, 0)) * this.unit[i];
  }

  derivatives(i, shares) {
    const { theta, gamma, base, powers } = this.parts(i, shares);
    const sum = powers.reduce((all, one) => all + one, 0);
    const byAlpha = powers.map((one, k) => (-gamma[k] / base[k]) * one);
    const byGamma = powers.map((one, k) => -Math.log(this.tokens * base[k]) * one);
    return [1, sum / theta[1], ...byAlpha, ...byGamma].map((one) => one * this.unit[i]);
  }
}

/** unit sum_k factor_k clip(w_k, floor, 1)^-alpha_k */
class BiMix extends Coefficients {
  constructor(data) {
    super(data);
    this.theta = unpack(data.theta);
    this.unit = unpack(data.unit);
    this.floor = data.floor;
  }

  parts(i, shares) {
    const theta = row(this.theta, i, 2 * shares.length);
    const [factor, alpha] = [theta.subarray(0, shares.length), theta.subarray(shares.length)];
    const logs = shares.map((share) => Math.log(Math.min(Math.max(share, this.floor), 1)));
    return { factor, logs, powers: logs.map((log, k) => power(-alpha[k] * log)) };
  }

  value(i, shares) {
    const { factor, powers } = this.parts(i, shares);
    return dot(powers, factor) * this.unit[i];
  }

  derivatives(i, shares) {
    const { factor, logs, powers } = this.parts(i, shares);
    return [...powers, ...powers.map((one, k) => -logs[k] * factor[k] * one)].map((one) => one * this.unit[i]);
  }
}

// A domain without tokens has infinite epochs at any share; this number of epochs keeps its effect 0.
const MOST_EPOCHS = 1e100;
const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

/** floor + sign exp(b0 - sum_k a_k gain(E_k) + sum_k h_k harm(E_k)), where E_k are the epochs of domain k */
class Epochs extends Coefficients {
  constructor(data) {
    super(data);
    for (const name of ["floor", "b0", "a", "h", "rho", "p", "tau", "sign", "worst", "rate"]) this[name] = unpack(data[name]);
    this.convex = data.convex;
    // Laws of other shapes that predict as well: rho, p, tau, depth, ridge, floor, b0, a and h of each.
    this.rivals = data.rivals.map((one) => one.map(unpack));
  }

  epochs(shares) {
    return shares.map((share, k) => (share > 0 ? Math.min(share * this.rate[k], MOST_EPOCHS) : 0));
  }

  columns(shares, rho, p, tau) {
    const epochs = this.epochs(shares);
    const gains = epochs.map((one) => Math.expm1(-((rho * one) ** p)));
    return [...gains, ...epochs.map((one) => this.harm(one, tau))];
  }

  harm(epochs, tau) {
    if (tau === Infinity) return 0;
    if (!this.convex) return softplus(Math.log1p(epochs) - tau) ** 2;
    const width = Math.exp(tau);
    return softplus((epochs - (width - 1)) / width);
  }

  excess(i, shares) {
    const seen = this.columns(shares, this.rho[i], this.p[i], this.tau[i]);
    const slopes = [...row(this.a, i, shares.length), ...row(this.h, i, shares.length)];
    return { seen, excess: power(this.b0[i] + dot(seen, slopes)) };
  }

  value(i, shares) {
    return this.floor[i] + this.sign[i] * this.excess(i, shares).excess;
  }

  derivatives(i, shares) {
    const { seen, excess } = this.excess(i, shares);
    const value = this.sign[i] * excess;
    return [value, ...seen.map((one) => value * one)];
  }

  variance(i, shares) {
    const value = this.sign[i] * this.excess(i, shares).excess;
    // A prediction beyond the worst run counts as that run, as in Python.
    const highest = Math.max((this.worst[i] - this.floor[i]) / value, 1);
    const apart = this.rivals[i].map((rival) => value * (Math.min((this.ofRival(i, rival, shares) - this.floor[i]) / value, highest) - 1));
    return super.variance(i, shares) + dot(apart, apart) / Math.max(apart.length, 1);
  }

  ofRival(i, rival, shares) {
    const [rho, p, tau, , , floor, b0] = rival;
    return floor + this.sign[i] * power(b0 + dot(this.columns(shares, rho, p, tau), rival.subarray(7)));
  }
}

export const COEFFICIENTS = { linear: Linear, log_linear: LogLinear, autoscale: AutoScale, bimix: BiMix, epochs: Epochs };
