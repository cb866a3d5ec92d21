// The Gaussian process: its posterior mean and variance from the runs themselves, as `mixfast.laws` computes them.

import { dot, row, unpack } from "./numbers.js";

// Added to shares under the square root, as in Python.
const ROOT = 1e-4;

/** Return the Matern-5/2 correlation at this squared distance. */
function matern(squared) {
  const s = Math.sqrt(5 * squared);
  return (1 + s + (s * s) / 3) * Math.exp(-s);
}

/** Return its derivative by the squared distance. */
function maternSlope(squared) {
  const s = Math.sqrt(5 * squared);
  return (-5 / 6) * (1 + s) * Math.exp(-s);
}

/** One metric: constant + scale t, or floor + exp(constant + scale t) if logged, for a Gaussian target t given its runs. */
class Process {
  constructor(data, runs, inputs) {
    Object.assign(this, data, inputs);
    const width = inputs.centre.length;
    const theta = unpack(data.theta);
    this.width = width;
    this.inverse = theta.subarray(1, 1 + width).map((log) => Math.exp(-log));
    this.amplitude = Math.exp(theta[0]);
    this.noise = Math.exp(theta[1 + width]);
    this.slope = Number.isNaN(theta[2 + width]) ? 0 : Math.exp(theta[2 + width]);
    this.weights = unpack(data.weights);
    this.points = data.runs.map((run) => this.located(row(runs, run, width)));
    // The linear part of the posterior mean.
    this.trend = new Float64Array(width);
    this.points.forEach(({ trend }, r) => trend.forEach((one, k) => (this.trend[k] += this.slope * this.weights[r] * one)));
  }

  /** Return a mixture's features for the process, divided by the length scales, and those for the trend. */
  located(shares) {
    const { width, centre, spread, inverse, roots } = this;
    const [scaled, trend] = [new Float64Array(width), new Float64Array(width)];
    for (let k = 0; k < width; k++) {
      trend[k] = (shares[k] - centre[k]) / spread[k];
      // Last domains that no run has are standardised like features.
      scaled[k] = (k < roots ? Math.sqrt(Math.max(shares[k], 0) + ROOT) : trend[k]) * inverse[k];
    }
    return { scaled, trend };
  }

  squared(one, other) {
    let sum = 0;
    for (let k = 0; k < this.width; k++) {
      const away = one[k] - other[k];
      sum += away * away;
    }
    return sum;
  }

  covariance(one, other) {
    const linear = this.slope ? this.slope * dot(one.trend, other.trend) : 0;
    return this.amplitude * matern(this.squared(one.scaled, other.scaled)) + linear;
  }

  value(shares) {
    if (this.scale === 0) return this.constant;
    const here = this.located(shares);
    let target = 0;
    for (let r = 0; r < this.points.length; r++) target += this.weights[r] * matern(this.squared(here.scaled, this.points[r].scaled));
    target = this.constant + this.scale * (this.amplitude * target + dot(this.trend, here.trend));
    return this.logged ? this.floor + Math.exp(target) : target;
  }

  slopes(shares) {
    const { width, roots, inverse, spread, points } = this;
    const out = new Float64Array(width);
    if (this.scale === 0) return out;
    const here = this.located(shares);
    for (let r = 0; r < points.length; r++) {
      const there = points[r].scaled;
      const pull = 2 * this.weights[r] * this.amplitude * maternSlope(this.squared(here.scaled, there));
      for (let k = 0; k < width; k++) out[k] += pull * (here.scaled[k] - there[k]);
    }
    const stretch = (this.logged ? this.value(shares) - this.floor : 1) * this.scale;
    for (let k = 0; k < width; k++) {
      const by = k < roots ? 0.5 / Math.sqrt(Math.max(shares[k], 0) + ROOT) : 1 / spread[k];
      out[k] = stretch * (out[k] * inverse[k] * by + this.trend[k] / spread[k]);
    }
    return out;
  }

  bound() {
    return this.logged && this.scale !== 0 ? [this.floor, 1] : null;
  }

  sd(shares) {
    if (this.scale === 0) return 0;
    this.prepare();
    const here = this.located(shares);
    const told = this.solved(this.points.map((point) => this.covariance(here, point)));
    // The constant is estimated too, which adds its uncertainty.
    const open = (1 - dot(this.ones, told)) / Math.sqrt(dot(this.ones, this.ones));
    const variance = Math.max(this.covariance(here, here) - dot(told, told) + open * open, 0) + this.noise;
    const stretch = (this.logged ? this.value(shares) - this.floor : 1) * this.scale;
    return Math.sqrt(variance) * this.widen * stretch;
  }

  /** Compute the lower Cholesky factor of the runs' covariance, once. */
  prepare() {
    if (this.lower) return;
    this.lower = this.points.map((point, i) => {
      const out = new Float64Array(i + 1);
      for (let j = 0; j <= i; j++) out[j] = this.covariance(point, this.points[j]);
      out[i] += this.noise;
      return out;
    });
    this.lower.forEach((own, i) => {
      for (let j = 0; j <= i; j++) {
        const other = this.lower[j];
        let sum = own[j];
        for (let k = 0; k < j; k++) sum -= own[k] * other[k];
        own[j] = i === j ? Math.sqrt(sum) : sum / other[j];
      }
    });
    this.ones = this.solved(this.points.map(() => 1));
  }

  /** Solve L x = b. */
  solved(b) {
    const out = Float64Array.from(b);
    for (let i = 0; i < out.length; i++) {
      const own = this.lower[i];
      let sum = out[i];
      for (let k = 0; k < i; k++) sum -= own[k] * out[k];
      out[i] = sum / own[i];
    }
    return out;
  }
}

export class Gaussian {
  constructor(data) {
    const inputs = { centre: unpack(data.centre), spread: unpack(data.spread), roots: data.roots };
    const runs = unpack(data.x);
    this.processes = data.processes.map((one) => new Process(one, runs, inputs));
    this.size = this.processes.length;
  }

  value(i, shares) {
    return this.processes[i].value(shares);
  }

  sd(i, shares) {
    return this.processes[i].sd(shares);
  }

  slopes(i, shares) {
    return this.processes[i].slopes(shares);
  }

  bound(i) {
    return this.processes[i].bound();
  }

  /** Whether the error bar of a metric needs a long computation first. */
  pending(i) {
    return this.processes[i].scale !== 0 && !this.processes[i].lower;
  }

  prepare(i) {
    this.processes[i].prepare();
  }
}
