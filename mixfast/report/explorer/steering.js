// Steering by a goal: the least change of a mixture that brings one metric to a value while others do not get worse.

import { dot, ends } from "./numbers.js";
import { project } from "./projection.js";

// Times that the metrics are made linear again, at most; the shortest step, as a fraction of a whole one.
const ROUNDS = 30;
const SHORTEST = 1e-3;
// A step is shortened at once to this fraction at most.
const SHARPEST = 0.05;
// Shares that move by less have arrived; a cost that falls by a smaller fraction, while a goal is out of reach, has too.
const STILL = 1e-9;
const SLIGHT = 1e-3;
// A goal is reached, and a metric held, within this fraction of the change that is asked for: at the end of a drag, and while it goes on.
export const EXACTLY = 1e-6;
export const NEARLY = 1e-3;
// How far a goal goes back from the furthest value, as fractions of the way to it.
const BACK = [1e-3, 1e-2, 0.1, 0.5];
// Multipliers below this fraction of the goal's stand in no way.
const WEIGHTY = 1e-3;

function divergence(shares, near) {
  let sum = 0;
  shares.forEach((share, k) => (sum += share > 0 && near[k] > 0 ? share * Math.log(share / near[k]) : 0));
  return sum;
}

/** Return by how much a mixture misses a row, below 0 if it is better. */
function expected({ row, low, high }, shares) {
  const sum = dot(row, shares);
  return high < Infinity ? sum - high : low - sum;
}

/** One metric that must stay at or below a value (way -1), or at or above it (way 1), as a linear condition near a mixture. */
class Demand {
  constructor(model, j, way, value) {
    Object.assign(this, { model, j, way });
    this.straight = model.straight(j);
    this.wanted = this.straight.of(value);
  }

  /** Return by how much the metric misses the value at a mixture, on the straightened scale; below 0 if it is better. */
  missed(shares) {
    return this.way * (this.wanted - this.straight.of(this.model.value(this.j, shares)));
  }

  row(shares) {
    const value = this.model.value(this.j, shares);
    const stretch = this.straight.slope(value);
    const row = Float64Array.from(this.model.slopes(this.j, shares), (slope) => slope * stretch);
    const end = dot(row, shares) + this.wanted - this.straight.of(value);
    return this.way < 0 ? { row, low: -Infinity, high: end } : { row, low: end, high: Infinity };
  }
}

/**
 * Return the mixture nearest to `start` that meets the demands, of which the first gives way; what each of them misses; and the last solution of
 * the projection.
 *
 * The metrics are made linear at the last mixture, again and again, at first at `from`. A step that costs more than it brings is shortened: a miss has a price in nats,
 * above the multiplier of its demand.
 */
function approach(demands, start, { floor, cap, rows }, enough, from) {
  const prices = demands.map(() => 0);
  const missed = (shares) => demands.map((demand) => Math.max(demand.missed(shares), 0));
  const cost = (shares, misses) => divergence(shares, start) + dot(prices, misses);
  let [shares, misses, found] = [from, missed(from), null];
  for (let round = 0; round < ROUNDS; round++) {
    const linear = demands.map((demand, i) => ({ ...demand.row(shares), goal: i === 0 }));
    found = project(start, floor, cap, [...linear, ...rows]);
    linear.forEach(({ row }, i) => {
      const [least, largest] = ends(row);
      prices[i] = Math.max(prices[i], (2 * Math.abs(found.multipliers[i])) / (largest - least || 1));
    });
    const was = cost(shares, misses);
    const hoped = was - cost(found.shares, linear.map((one) => Math.max(expected(one, found.shares), 0)));
    // While a drag goes on at the furthest mixture, shorter steps are not worth their price.
    const shortest = from !== start && found.gaveWay && hoped < SLIGHT * was ? 1 : SHORTEST;
    let [next, after, length] = [found.shares, missed(found.shares), 1];
    while (length > shortest && !(cost(next, after) < was)) {
      // The step at which a parabola through both ends, with the slope that was hoped for, is lowest; half of it if there is none, as before an infinite loss.
      const rise = cost(next, after) - was;
      const lowest = (0.5 * hoped * length) / (rise + hoped * length);
      length *= Number.isFinite(rise) && lowest < 0.5 ? Math.max(lowest, SHARPEST) : 0.5;
      next = shares.map((share, k) => share + length * (found.shares[k] - share));
      after = missed(next);
    }
    if (!(cost(next, after) < was)) break;
    const moved = Math.max(...next.map((share, k) => Math.abs(share - shares[k])));
    const gained = was - cost(next, after);
    [shares, misses] = [next, after];
    const straight = length === 1 && demands.every((demand, i) => Math.abs(demand.missed(shares) - expected(linear[i], shares)) <= enough);
    if (straight || moved < STILL || (found.gaveWay && gained < SLIGHT * was)) break;
  }
  return { shares, misses, found };
}

/**
 * Return the mixture nearest to `start` at which metric j reaches `goal`, within the limits, with locked shares kept and no held metric worse
 * than at the start.
 *
 * The mixture has the least KL divergence from `start`: exactly for metrics that are linear or log-linear in the shares, else among the mixtures near
 * it. If no mixture reaches the goal, the result is the furthest one, `reached` is false, and `standing` lists what stands in the way. `within` is the
 * part of the asked change that may be missing. `from` is a mixture to begin with: that of a goal near this one, in the same drag.
 */
export function steer(model, limits, start, { locked, held }, j, goal, within = EXACTLY, from = start) {
  const before = model.value(j, start);
  const way = Math.sign(goal - before);
  if (way === 0) return { shares: start, reached: true, standing: [] };
  if (held.has(j) && way === model.metrics[j].sign) return { shares: start, reached: false, standing: [`the hold on ${model.metrics[j].name}`] };
  const keep = [...held].filter((other) => other !== j).map((other) => new Demand(model, other, -model.metrics[other].sign, model.value(other, start)));
  const box = limits.box(start, locked);
  const toward = (value) => {
    const demands = [new Demand(model, j, way, value), ...keep];
    const enough = within * Math.abs(demands[0].missed(start));
    const { shares, misses, found } = approach(demands, start, box, enough, from);
    return { demands, shares, found, kept: misses.slice(1).every((miss) => miss <= enough), reached: misses[0] <= enough };
  };
  const first = toward(goal);
  if (first.reached && first.kept) return { shares: first.shares, reached: true, standing: [] };
  const stands = standing(first.found, first.demands, limits, locked, start);
  // Where metrics bend, the furthest mixture may break a hold a little: a goal just before it is reached without that.
  const furthest = model.value(j, first.shares);
  let last = first;
  for (const back of BACK) {
    if (last.kept) break;
    last = toward(furthest + back * (before - furthest));
  }
  return { shares: last.kept ? last.shares : start, reached: false, standing: stands };
}

/** Return what stands in the way of a goal, in words, the largest multiplier first. */
function standing(found, demands, limits, locked, start) {
  const { model } = demands[0];
  const { multipliers, pulls } = found;
  const all = demands.slice(1).map((demand, i) => [Math.abs(multipliers[1 + i]), `the hold on ${model.metrics[demand.j].name}`]);
  limits.bounds.forEach(({ name }, b) => all.push([Math.abs(multipliers[demands.length + b]), `the limit of ${name}`]));
  pulls.forEach((pull, k) => {
    const name = model.domains[k];
    if (locked.has(k)) all.push([start[k] > 0 ? Math.abs(pull) : pull, `the lock of ${name}`]);
    else if (start[k] === 0 && found.shares[k] === 0) all.push([pull, `${name}, which has no share at the start of the drag`]);
    else if (pull > 0) all.push([pull, `the cap of ${name}`]);
    else if (found.shares[k] > 0) all.push([-pull, `the floor of ${name}`]);
  });
  const weighty = WEIGHTY * Math.abs(multipliers[0]);
  return all.filter(([size]) => size > weighty).sort(([one], [other]) => other - one).map(([, words]) => words);
}
