// The Gaussian process: its posterior mean and variance from the runs themselves, as `mixfast.laws` computes them.

import { dot, row, unpack } from "./numbers.js";

// Added to shares under the square root, as in Python.
const ROOT = 1e-4;

/** Return the Matern-5/2 correlation at this squared distance. */
function matern(squared) {
  const s = Math.sqrt(5 * squared);
  return (1 + s + (s * s) / 3) * Math.exp(-s);
}

/** One metric: constant + scale t, or floor + exp(constant + scale t) if logged, for a Gaussian target t given its runs. */
class Process {
  constructor(data, runs, inputs) {
    Object.assign(this, data, inputs);
    const width = inputs.centre.length;
    const theta = unpack(data.theta);
    this.inverse = theta.subarray(1, 1 + width).map((log) => Math.exp(-log));
    this.amplitude = Math.exp(theta[0]);
    this.noise = Math.exp(theta[1 + width]);
    this.slope = Number.isNaN(theta[2 + width]) ? 0 : Math.exp(theta[2 + width]);
    this.weights = unpack(data.weights);
    this.points = data.runs.map((run) => this.located(row(runs, run, width)));
  }

  /** Return a mixture's features for the process, divided by the length scales, and those for the trend. */
  located(shares) {
    const trend = shares.map((share, k) => (share - this.centre[k]) / this.spread[k]);
    // Last domains that no run has are standardised like features.
    const scaled = shares.map((share, k) => (k < this.roots ? Math.sqrt(Math.max(share, 0) + ROOT) : trend[k]) * this.inverse[k]);
    return { scaled, trend };
  }

  covariance(one, other) {
    let squared = 0;
    for (let k = 0; k < one.scaled.length; k++) squared += (one.scaled[k] - other.scaled[k]) ** 2;
    const linear = this.slope ? this.slope * dot(one.trend, other.trend) : 0;
    return this.amplitude * matern(squared) + linear;
  }

  value(shares) {
    if (this.scale === 0) return this.constant;
    const here = this.located(shares);
    let target = 0;
    for (let r = 0; r < this.points.length; r++) target += this.weights[r] * this.covariance(here, this.points[r]);
    target = this.constant + this.scale * target;
    return this.logged ? this.floor + Math.exp(target) : target;
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
    this.lower.forEach((own, i) => {
      for (let k = 0; k < i; k++) out[i] -= own[k] * out[k];
      out[i] /= own[i];
    });
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

  /** Whether the error bar of a metric needs a long computation first. */
  pending(i) {
    return this.processes[i].scale !== 0 && !this.processes[i].lower;
  }

  prepare(i) {
    this.processes[i].prepare();
  }
}
