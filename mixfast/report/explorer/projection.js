// The mixture nearest to another one, by KL divergence, within limits: the solver behind every move of the page.
//
// Minimise sum_k w_k log(w_k / near_k) over sum_k w_k = 1, floor <= w <= cap, and low <= a . w <= high for each row a. A row gives way when
// its multiplier would exceed a limit, so that there is always an answer. The dual is maximised by projected Newton steps: for multipliers y,
// w_k = near_k exp(t - sum_i y_i a_ik) within floor and cap, where t makes the sum 1.

import { ends, rowDot } from "./numbers.js";

const STEPS = 200;
// Rows are met up to this, relative to the spread of their entries.
const EXACT = 1e-13;
const NOISE = 1e-15;
// The largest multiplier of a row, in nats, if its entries span 1. A limit beyond it contradicts the others.
const HARD = 1e7;
// The same for a goal, which gives way to limits: its value is then within log(1 / smallest share) / 1e4 of the best one, relative to the span.
// It is approached in stages, because a Newton step from far away is wrong.
const STAGES = [10, 100, 1e3, 1e4];
// A step is at most 1 / DAMPING nats.
const DAMPING = 0.01;
// exp of a smaller exponent is 0.
const LOWEST = -745;

/** Solve (H + damping) x = b for a positive semi-definite H, given as the rows of its lower triangle, by Cholesky. */
function solve(H, b, damping) {
  const size = b.length;
  const x = Float64Array.from(b);
  let largest = 0;
  for (let i = 0; i < size; i++) largest = Math.max(largest, H[i][i]);
  const least = damping + 1e-14 * largest;
  for (let i = 0; i < size; i++) {
    const own = H[i];
    own[i] += least;
    for (let j = 0; j <= i; j++) {
      const other = H[j];
      let sum = own[j];
      for (let k = 0; k < j; k++) sum -= own[k] * other[k];
      own[j] = i === j ? Math.sqrt(Math.max(sum, least)) : sum / other[j];
    }
    for (let k = 0; k < i; k++) x[i] -= own[k] * x[k];
    x[i] /= own[i];
  }
  for (let i = size - 1; i >= 0; i--) {
    x[i] /= H[i][i];
    for (let k = 0; k < i; k++) x[k] -= H[i][k] * x[i];
  }
  return x;
}

/** The mixtures of one problem, as functions of the multipliers of its rows. */
class Dual {
  constructor(near, floor, cap, rows) {
    Object.assign(this, { floor, cap });
    this.size = near.length;
    this.logs = Float64Array.from(near, Math.log);
    // Entries that span 1 around 0: multipliers then compare, and an addition to all entries changes nothing, because shares sum to 1.
    this.rows = rows.map(({ row, low, high, goal }) => {
      const [least, largest] = ends(row);
      const span = largest - least || 1;
      const middle = 0.5 * (least + largest);
      const to = (end) => (end - middle) / span;
      const scaled = new Float64Array(row.length);
      for (let k = 0; k < row.length; k++) scaled[k] = to(row[k]);
      return { row: scaled, low: to(low), high: to(high), most: goal ? STAGES[0] : HARD, span };
    });
    this.t = 0;
  }

  /** Return the mixture at these multipliers, with which shares are free, the dual value, and by how much each row is broken. */
  at(y) {
    const exponents = Float64Array.from(this.logs);
    this.rows.forEach(({ row }, i) => {
      if (y[i] !== 0) for (let k = 0; k < this.size; k++) exponents[k] -= y[i] * row[k];
    });
    const shares = this.filled(exponents);
    const free = shares.map((share, k) => (share > this.floor[k] && share < this.cap[k] ? share : 0));
    let value = 0;
    for (let k = 0; k < this.size; k++) if (shares[k] > 0 && this.logs[k] > -Infinity) value += shares[k] * (Math.log(shares[k]) - this.logs[k]);
    const broken = this.rows.map(({ row, low, high }, i) => {
      const sum = rowDot(row, shares, 0);
      const over = sum - high;
      const under = sum - low;
      const out = y[i] > 0 ? over : y[i] < 0 ? under : Math.max(over, 0) + Math.min(under, 0);
      if (y[i] !== 0) value += y[i] * out;
      return out;
    });
    return { y, exponents, shares, free, value, broken, t: this.t };
  }

  /** Return the shares exp(exponent + t) within floor and cap whose sum is 1: t by Newton steps in log sum, kept between bounds. */
  filled(exponents) {
    const { size, floor, cap } = this;
    let [largest, least] = [-Infinity, Infinity];
    for (const one of exponents) {
      largest = Math.max(largest, one);
      if (one > -Infinity) least = Math.min(least, one);
    }
    let [low, high] = [LOWEST - largest, 1 - least];
    let t = Math.min(Math.max(this.t, low), high);
    const shares = new Float64Array(size);
    for (let step = 0; step < 300; step++) {
      let [sum, moving] = [0, 0];
      for (let k = 0; k < size; k++) {
        const raw = Math.exp(exponents[k] + t);
        const share = raw < floor[k] ? floor[k] : raw > cap[k] ? cap[k] : raw;
        if (share === raw) moving += raw;
        shares[k] = share;
        sum += share;
      }
      if (Math.abs(sum - 1) <= 4e-16 * (1 + Math.abs(t))) break;
      if (sum < 1) low = t;
      else high = t;
      let next = moving > 0 ? t + Math.log(Math.max((1 - sum + moving) / moving, 1e-300)) : NaN;
      if (!(next > low && next < high)) next = 0.5 * (low + high);
      if (next === t || high - low <= 1e-15 * Math.abs(t)) break;
      t = next;
    }
    this.t = t;
    // What is left is the rounding of t.
    let [fixed, moving] = [0, 0];
    for (let k = 0; k < size; k++) {
      if (shares[k] > floor[k] && shares[k] < cap[k]) moving += shares[k];
      else fixed += shares[k];
    }
    const rest = (1 - fixed) / moving;
    if (Math.abs(rest - 1) < 1e-6) for (let k = 0; k < size; k++) if (shares[k] > floor[k] && shares[k] < cap[k]) shares[k] *= rest;
    return shares;
  }

  /** Whether a row is broken although its multiplier is at its limit. */
  gaveWay(i, y, broken) {
    return Math.abs(y) >= this.rows[i].most && y * broken > 0;
  }

  /** Return the Newton step of the rows that are broken or hold something back. */
  step({ y, free, broken }) {
    const { rows, size } = this;
    let total = 0;
    for (const one of free) total += one;
    let active = rows.map((_, i) => i).filter((i) => (y[i] !== 0 || Math.abs(broken[i]) > EXACT) && !this.gaveWay(i, y[i], broken[i]));
    const weighted = [];
    const means = [];
    for (const i of active) {
      const { row } = rows[i];
      const out = new Float64Array(size);
      let sum = 0;
      for (let k = 0; k < size; k++) sum += out[k] = row[k] * free[k];
      [weighted[i], means[i]] = [out, sum];
    }
    const curved = (i, j) => (total > 0 ? rowDot(weighted[i], rows[j].row, 0) - (means[i] * means[j]) / total : 0);
    // Where no share is free the dual is straight, and a step has no length of its own; near the answer the damping is gone.
    const damping = DAMPING * active.reduce((most, i) => Math.max(most, Math.abs(broken[i])), 0);
    while (active.length) {
      const H = active.map((i, at) => Float64Array.from({ length: at + 1 }, (_, j) => curved(i, active[j])));
      const by = solve(H, active.map((i) => broken[i]), damping);
      // A row that holds nothing back yet cannot pull.
      const wrong = new Set(active.filter((i, at) => y[i] === 0 && by[at] * broken[i] < 0));
      if (!wrong.size) return { active, by };
      active = active.filter((i) => !wrong.has(i));
    }
    return { active, by: [] };
  }

  /** Return the multipliers after a step: none changes its sign or exceeds its limit. */
  moved(y, { active, by }, length) {
    const out = Float64Array.from(y);
    active.forEach((i, at) => {
      const { low, high, most } = this.rows[i];
      const next = Math.min(Math.max(y[i] + length * by[at], -most), most);
      out[i] = low < high && next * y[i] < 0 ? 0 : next;
    });
    return out;
  }

  /** Return the pull on a domain that has no share in `near`: that of one with a share. */
  pull(k, { y, t }) {
    return t - this.rows.reduce((sum, { row }, i) => sum + y[i] * row[k], 0);
  }

  /** Return the best multipliers from these on, and what belongs to them. */
  maximise(y) {
    let now = this.at(y);
    for (let step = 0; step < STEPS; step++) {
      if (!now.broken.some((out, i) => Math.abs(out) > EXACT && !this.gaveWay(i, now.y[i], out))) break;
      const by = this.step(now);
      let [next, length] = [null, 1];
      for (let halving = 0; halving < 60; halving++, length /= 2) {
        const tried = this.at(this.moved(now.y, by, length));
        let rise = 0;
        by.active.forEach((i) => (rise += now.broken[i] * (tried.y[i] - now.y[i])));
        // The value is rounded; a rise below that counts as one.
        if (tried.value >= now.value + 1e-4 * rise - NOISE * (Math.abs(now.value) + now.y.reduce((sum, one) => sum + Math.abs(one), 0))) {
          next = tried;
          break;
        }
      }
      if (!next || next.y.every((one, i) => one === now.y[i])) break;
      now = next;
    }
    return now;
  }
}

/**
 * Return the mixture, the multiplier of each row in nats for each span of its entries, and the pull on each share: by how many nats the domain
 * wants more (> 0) or less (< 0) than a floor or cap gives it; and whether a goal gave way.
 *
 * `near`, `floor` and `cap` are arrays. A row has `row`, `low`, `high`, and `goal` if it gives way to the others. A share of 0 in `near` stays
 * 0, or at its floor.
 */
export function project(near, floor, cap, rows) {
  const dual = new Dual(near, floor, cap, rows);
  const goals = dual.rows.filter((_, i) => rows[i].goal);
  let found = { y: new Float64Array(rows.length) };
  for (const [i, stage] of STAGES.entries()) {
    for (const goal of goals) goal.most = stage;
    // Where a goal is out of reach, all multipliers grow with its own.
    found = dual.maximise(i ? found.y.map((one) => (one * stage) / STAGES[i - 1]) : found.y);
    if (!goals.some((goal) => Math.abs(found.y[dual.rows.indexOf(goal)]) >= stage)) break;
  }
  const { y, shares, exponents, t } = found;
  const pulls = shares.map((share, k) => (near[k] === 0 ? dual.pull(k, found) : share > 0 ? exponents[k] + t - Math.log(share) : 0));
  const gaveWay = rows.some(({ goal }, i) => goal && dual.gaveWay(i, y[i], found.broken[i]));
  return { shares: Array.from(shares), multipliers: Array.from(y), pulls: Array.from(pulls), gaveWay };
}
