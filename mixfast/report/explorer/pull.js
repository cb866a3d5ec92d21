// The exact answer to a goal for a table of experts, as options of `mixfast solve`.

/**
 * Return the options with which `mixfast solve` finds the mixture with the least KL divergence from `before` among those with as low a loss.
 *
 * That mixture minimises loss + kl KL(w || before) for one weight kl. Where no limit binds, slope_k + kl log(w_k / before_k) is the same for
 * all domains, so the weight follows from the slopes at the mixture that was found. Null if a loss rises, or if nothing moved.
 */
export function pull(model, limits, j, before, after) {
  if (!(model.value(j, after) < model.value(j, before))) return null;
  const slopes = model.slopes(j, after);
  const inside = after.map((share, k) => share > 0 && share - limits.floor[k] > 1e-9 && limits.cap[k] - share > 1e-9);
  const free = after.map((_, k) => k).filter((k) => inside[k] && before[k] > 0);
  const mass = free.reduce((sum, k) => sum + after[k], 0);
  const middle = (values) => free.reduce((sum, k) => sum + after[k] * values[k], 0) / mass;
  const moves = after.map((share, k) => Math.log(share / before[k]));
  const [slope, move] = [middle(slopes), middle(moves)];
  const spread = middle(moves.map((one) => (one - move) ** 2));
  const kl = -middle(moves.map((one, k) => (one - move) * (slopes[k] - slope))) / spread;
  return kl > 0 && kl < Infinity ? [...model.objective(j), "--kl", String(Number(kl.toPrecision(4))), "--prior", "near.yaml"] : null;
}
