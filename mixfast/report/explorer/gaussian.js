// The Gaussian process: its posterior mean and variance from the runs themselves, as `mixfast.laws` computes them.

import { addRows, dot, row, rowDot, total, unpack } from "./numbers.js";

// Added to shares under the square root, as in Python.
const ROOT = 1e-4;

/** Put the Matern-5/2 correlation at this squared distance into place r of an array, and its derivative by that into another. */
function matern(squared, near, steep, r) {
  const s = Math.sqrt(5 * squared);
  const decay = Math.exp(-s);
  near[r] = (1 + s + (s * s) / 3) * decay;
  steep[r] = (-5 / 6) * (1 + s) * decay;
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
    // Features are measured from the middle of the runs, so that squares of distances lose no digits as differences of large squares.
    this.origin = new Float64Array(width);
    this.origin = this.located(inputs.centre).scaled;
    this.points = data.runs.map((run) => this.located(row(runs, run, width)));
    // The runs as the rows of a matrix.
    this.scaled = Float64Array.from(this.points.flatMap((point) => Array.from(point.scaled)));
    this.norms = Float64Array.from(this.points, ({ scaled }) => rowDot(scaled, scaled, 0));
    // The linear part of the posterior mean.
    this.trend = new Float64Array(width);
    this.points.forEach(({ trend }, r) => trend.forEach((one, k) => (this.trend[k] += this.slope * this.weights[r] * one)));
  }

  /** Return a mixture's features for the process, divided by the length scales, and those for the trend. */
  located(shares) {
    const { width, centre, spread, inverse, origin, roots } = this;
    const [scaled, trend] = [new Float64Array(width), new Float64Array(width)];
    for (let k = 0; k < width; k++) {
      trend[k] = (shares[k] - centre[k]) / spread[k];
      // Last domains that no run has are standardised like features.
      scaled[k] = (k < roots ? Math.sqrt(Math.max(shares[k], 0) + ROOT) : trend[k]) * inverse[k] - origin[k];
    }
    return { scaled, trend };
  }

  /** Return a mixture's features, and its correlation with each run with the derivative. Slopes and error bars need those of the values before them. */
  placed(shares) {
    if (this.given !== shares) {
      const here = this.located(shares);
      const own = rowDot(here.scaled, here.scaled, 0);
      const [near, steep] = [new Float64Array(this.norms.length), new Float64Array(this.norms.length)];
      for (let r = 0; r < near.length; r++) matern(this.squared(here.scaled, r, own), near, steep, r);
      [this.given, this.place] = [shares, { here, near, steep }];
    }
    return this.place;
  }

  /** Return the squared distance of run r from a place whose own square is given. */
  squared(one, r, own = rowDot(one, one, 0)) {
    return Math.max(own + this.norms[r] - 2 * rowDot(this.scaled, one, r * this.width), 0);
  }

  /** Return the covariance with run r at this correlation. */
  covariance({ trend }, r, near) {
    const linear = this.slope ? this.slope * dot(trend, this.points[r].trend) : 0;
    return this.amplitude * near + linear;
  }

  value(shares) {
    if (this.scale === 0) return this.constant;
    const { here, near } = this.placed(shares);
    const target = this.constant + this.scale * (this.amplitude * rowDot(this.weights, near, 0) + rowDot(this.trend, here.trend, 0));
    return this.logged ? this.floor + Math.exp(target) : target;
  }

  slopes(shares) {
    const { width, roots, inverse, spread } = this;
    const out = new Float64Array(width);
    if (this.scale === 0) return out;
    const { here, steep } = this.placed(shares);
    const pulls = steep.map((one, r) => -2 * this.weights[r] * this.amplitude * one);
    addRows(out, this.scaled, pulls, 0, pulls.length);
    const all = total(pulls);
    for (let k = 0; k < width; k++) out[k] -= all * here.scaled[k];
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
    const { here, near } = this.placed(shares);
    const told = this.solved(near.map((one, r) => this.covariance(here, r, one)));
    // The constant is estimated too, which adds its uncertainty.
    const open = (1 - dot(this.ones, told)) / Math.sqrt(dot(this.ones, this.ones));
    const own = this.amplitude + (this.slope ? this.slope * dot(here.trend, here.trend) : 0);
    const variance = Math.max(own - dot(told, told) + open * open, 0) + this.noise;
    const stretch = (this.logged ? this.value(shares) - this.floor : 1) * this.scale;
    return Math.sqrt(variance) * this.widen * stretch;
  }

  /** Compute the lower Cholesky factor of the runs' covariance, once. */
  prepare() {
    if (this.lower) return;
    this.lower = this.points.map((point, i) => {
      const [out, steep] = [new Float64Array(i + 1), new Float64Array(i + 1)];
      for (let j = 0; j <= i; j++) {
        matern(this.squared(point.scaled, j), out, steep, j);
        out[j] = this.covariance(point, j, out[j]);
      }
      out[i] += this.noise;
      return out;
    });
    this.lower.forEach((own, i) => {
      for (let j = 0; j <= i; j++) {
        const other = this.lower[j];
        const sum = own[j] - rowDot(own, other, 0, j);
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
      out[i] = (out[i] - rowDot(own, out, 0, i)) / own[i];
    }
    return out;
  }
}

export class Gaussian {
  constructor(data) {
    const inputs = { centre: unpack(data.centre), spread: unpack(data.spread), roots: data.roots };
    const runs = unpack(data.x);
    this.processes = data.processes.map((one) => new Process(one, runs, inputs));
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
