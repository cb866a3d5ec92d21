// Laws with a few coefficients for each metric, as `mixfast.laws` evaluates them: the same formulas, in float64.
//
// A law has `size` metrics. `value(i, shares)` is the prediction of its metric i, `sd(i, shares)` the standard deviation of a new run,
// `slopes(i, shares)` the gradient by the shares, up to an addition to all of them, because shares sum to 1. `bound(i)` is the value that the
// metric never reaches, and on which side of it the metric is (1: above), or null if there is none.

import { dot, row, total, unpack } from "./numbers.js";

// The largest exponent, as in Python: predictions far from the runs are huge, but finite.
const HIGHEST = 300;
const power = (exponent) => Math.exp(Math.min(exponent, HIGHEST));

/** The covariance C of the coefficients of one metric, as C = D R'R D with a triangular factor R, and powers of 2 in D. */
class Covariance {
  constructor({ used, exponents, factor }) {
    this.scale = Array.from(unpack(exponents), (one) => 2 ** one);
    this.used = used ?? this.scale.map((_, place) => place);
    this.factor = unpack(factor);
  }

  /** Return the variance v'Cv of a metric with the derivatives v by its coefficients. */
  variance(derivatives) {
    const size = this.used.length;
    const scaled = Float64Array.from(this.used, (place, i) => derivatives[place] * this.scale[i]);
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

  bound() {
    return null;
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

  slopes(i, shares) {
    return row(this.coef, i, shares.length);
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

  slopes(i, shares) {
    const excess = this.excess(i, shares);
    return row(this.a, i, shares.length).map((one) => excess * one);
  }

  bound(i) {
    return [Math.exp(this.gamma[i]), 1];
  }
}

/**
 * unit (level + sum_k term_k(w_k)), where each term is a power of one share.
 *
 * `terms(theta, shares)` returns the level, the terms, and their slopes; `byTheta` the derivatives by the coefficients.
 */
class Powers extends Coefficients {
  constructor(data) {
    super(data);
    this.theta = unpack(data.theta);
    this.unit = unpack(data.unit);
  }

  of(i) {
    return row(this.theta, i, this.theta.length / this.size);
  }

  value(i, shares) {
    const { level, terms } = this.terms(this.of(i), shares);
    return (level + total(terms)) * this.unit[i];
  }

  slopes(i, shares) {
    return this.terms(this.of(i), shares).slopes.map((one) => one * this.unit[i]);
  }

  derivatives(i, shares) {
    return this.byTheta(this.of(i), shares).map((one) => one * this.unit[i]);
  }
}

/** level + scale sum_k (tokens (alpha_k + w_k))^-gamma_k, with theta = level, scale, alpha, gamma */
class AutoScale extends Powers {
  constructor(data) {
    super(data);
    this.tokens = data.tokens;
  }

  terms(theta, shares) {
    const size = shares.length;
    const base = shares.map((share, k) => theta[2 + k] + share);
    const terms = base.map((one, k) => theta[1] * power(-theta[2 + size + k] * Math.log(this.tokens * one)));
    return { level: theta[0], base, terms, slopes: terms.map((one, k) => (-theta[2 + size + k] / base[k]) * one) };
  }

  byTheta(theta, shares) {
    const { base, terms, slopes } = this.terms(theta, shares);
    const byGamma = terms.map((one, k) => -Math.log(this.tokens * base[k]) * one);
    return [1, total(terms) / theta[1], ...slopes, ...byGamma];
  }
}

/** sum_k factor_k clip(w_k, floor, 1)^-alpha_k, with theta = factor, alpha */
class BiMix extends Powers {
  constructor(data) {
    super(data);
    this.floor = data.floor;
  }

  terms(theta, shares) {
    const size = shares.length;
    const base = shares.map((share) => Math.min(Math.max(share, this.floor), 1));
    const terms = base.map((one, k) => theta[k] * power(-theta[size + k] * Math.log(one)));
    // Below the floor, the slope is that at the floor: a gain from more begins there.
    return { level: 0, base, terms, slopes: terms.map((one, k) => (-theta[size + k] / base[k]) * one) };
  }

  byTheta(theta, shares) {
    const { base, terms } = this.terms(theta, shares);
    return [...base.map((one, k) => power(-theta[shares.length + k] * Math.log(one))), ...terms.map((one, k) => -Math.log(base[k]) * one)];
  }
}

// A domain without tokens has infinite epochs at any share; this number of epochs keeps its effect 0.
const MOST_EPOCHS = 1e100;
// The slope of a gain at 0 epochs may be infinite; slopes are those at this number of epochs, or above.
const LEAST_EPOCHS = 1e-9;
const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
const logistic = (z) => 1 / (1 + Math.exp(-z));

/** floor + sign exp(b0 - sum_k a_k gain(E_k) + sum_k h_k harm(E_k)), where E_k are the epochs of domain k */
class Epochs extends Coefficients {
  constructor(data) {
    super(data);
    for (const name of ["floor", "b0", "a", "h", "rho", "p", "tau", "sign", "worst", "rate"]) this[name] = unpack(data[name]);
    this.convex = data.convex;
    this.last = [];
    // Laws of other shapes that predict as well: rho, p, tau, depth, ridge, floor, b0, a and h of each.
    this.rivals = data.rivals.map((one) => one.map(unpack));
  }

  /** Return the epochs of each domain, which all metrics share. */
  epochs(shares) {
    if (this.given !== shares) {
      [this.given, this.passes] = [shares, Float64Array.from(shares, (share, k) => (share > 0 ? Math.min(share * this.rate[k], MOST_EPOCHS) : 0))];
    }
    return this.passes;
  }

  /** Return what the coefficients multiply: minus the gain of each domain, then its harm. */
  columns(shares, rho, p, tau) {
    const size = shares.length;
    const out = new Float64Array(2 * size);
    this.epochs(shares).forEach((epochs, k) => {
      out[k] = Math.expm1(-((rho * epochs) ** p));
      out[size + k] = this.harm(epochs, tau);
    });
    return out;
  }

  harm(epochs, tau) {
    if (tau === Infinity) return 0;
    if (!this.convex) return softplus(Math.log1p(epochs) - tau) ** 2;
    const width = Math.exp(tau);
    return softplus((epochs - (width - 1)) / width);
  }

  harmSlope(epochs, tau) {
    if (tau === Infinity) return 0;
    if (!this.convex) return (2 * softplus(Math.log1p(epochs) - tau) * logistic(Math.log1p(epochs) - tau)) / (1 + epochs);
    const width = Math.exp(tau);
    return logistic((epochs - (width - 1)) / width) / width;
  }

  /** Return the columns of a mixture, and the exponential. Slopes and error bars need those of the values before them. */
  excess(i, shares) {
    if (this.last[i]?.shares !== shares) {
      const seen = this.columns(shares, this.rho[i], this.p[i], this.tau[i]);
      const size = shares.length;
      const exponent = this.b0[i] + dot(this.a, seen.subarray(0, size), i * size) + dot(this.h, seen.subarray(size), i * size);
      this.last[i] = { shares, seen, excess: power(exponent) };
    }
    return this.last[i];
  }

  value(i, shares) {
    return this.floor[i] + this.sign[i] * this.excess(i, shares).excess;
  }

  slopes(i, shares) {
    const [size, rho, p] = [shares.length, this.rho[i], this.p[i]];
    const scale = this.sign[i] * this.excess(i, shares).excess;
    return this.epochs(shares).map((epochs, k) => {
      const near = Math.max(epochs, LEAST_EPOCHS);
      const u = (rho * near) ** p;
      const slope = this.h[i * size + k] * this.harmSlope(near, this.tau[i]) - (this.a[i * size + k] * p * u * Math.exp(-u)) / near;
      // A domain without tokens has an infinite rate, and no effect.
      return slope === 0 || Number.isNaN(slope) ? 0 : scale * slope * this.rate[k];
    });
  }

  bound(i) {
    return [this.floor[i], this.sign[i]];
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
