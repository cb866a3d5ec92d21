// Steering by a goal: the least change of a mixture that brings one metric to a value.

// Times that the metric is made linear again, and steps of each search.
const ROUNDS = 4;
const STEPS = 40;
// Beyond this tilt a mixture no longer changes: all is on the domains that help most.
const MOST = 60;

/**
 * Return the mixture near `start` at which metric j reaches `goal`, within the limits and with locked shares kept.
 *
 * The mixture has the least KL divergence from `start` to first order: its shares are w_k exp(t s_k), where s_k are the slopes of the
 * metric, projected on the limits. The slopes are computed again at the mixture found. If no tilt reaches the goal, the result is the
 * furthest one, and `reached` is false.
 */
export function steer(model, limits, start, locked, j, goal) {
  const tilted = (slopes, t) => {
    const highest = Math.max(...slopes.map((slope) => t * slope));
    const raw = start.map((share, k) => (locked.has(k) ? share : share * Math.exp(t * slopes[k] - highest)));
    return limits.nearest(raw, locked);
  };
  const before = model.value(j, start);
  const way = Math.sign(goal - before);
  if (way === 0) return { shares: start, reached: true };
  let [best, reached] = [start, false];
  for (let round = 0; round < ROUNDS; round++) {
    const slopes = model.slopes(j, best);
    const scale = Math.max(...slopes.map(Math.abs));
    if (!(scale > 0)) break;
    const unit = slopes.map((slope) => (way * slope) / scale);
    const short = (t) => way * (goal - model.value(j, tilted(unit, t)));
    let high = 1e-3;
    while (high < MOST && short(high) > 0) high *= 2;
    reached = short(high) <= 0;
    let low = 0;
    for (let step = 0; reached && step < STEPS; step++) {
      const middle = 0.5 * (low + high);
      if (short(middle) > 0) low = middle;
      else high = middle;
    }
    best = tilted(unit, high);
    if (!reached) break;
  }
  return { shares: best, reached };
}
