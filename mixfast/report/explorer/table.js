// Losses of a table of experts: of all its rows, or of some that stand for all, as `mixfast.solver` computes them.
//
// Metric 0 is the loss of the whole target; the groups follow if there are several.

import { dot, total, unpack } from "./numbers.js";

// Below this probability of a row, the logarithm is computed from those of the experts.
const SMALL = 1e-280;

/** Return the number that a float16 stands for. */
function half(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}

/** The losses of groups as losses of the page: the whole target, then each group. A group is worth its share of the whole. */
class Groups {
  constructor(data) {
    this.share = unpack(data.share);
    this.worst = data.worst;
    // Tables do not change: the losses of a mixture and the gradient of each group are computed once.
    this.known = new WeakMap();
    this.sloped = new WeakMap();
  }

  value(i, shares) {
    const losses = this.losses(shares);
    if (i > 0) return losses[i - 1];
    return this.worst ? Math.max(...losses) : total(losses.map((loss, g) => (this.share[g] ? this.share[g] * loss : 0)));
  }

  losses(shares) {
    if (!this.known.has(shares)) this.known.set(shares, this.computed(shares));
    return this.known.get(shares);
  }

  /** Return the slope of metric i as each domain gets more and the others keep their proportions. */
  slopes(i, shares) {
    const slopes = new Float64Array(shares.length);
    this.counted(i, shares).forEach((count, g) => {
      if (count > 0) this.gradient(g, shares).forEach((one, k) => (slopes[k] += count * one));
    });
    const along = dot(slopes, shares);
    return Array.from(slopes, (one) => one - along);
  }

  /** Return the gradient of the loss of group g. */
  gradient(g, shares) {
    if (!this.sloped.has(shares)) this.sloped.set(shares, []);
    return (this.sloped.get(shares)[g] ??= this.sloping(g, shares));
  }

  /** Return the options that make metric i the objective; nothing for the mean of all groups. */
  objective(names, i) {
    if (i > 0) return ["--objective", names[i - 1]];
    if (this.worst) return ["--objective", "worst"];
    const even = this.share.every((share) => share === this.share[0]);
    return even ? [] : names.flatMap((name, g) => (this.share[g] ? ["--objective", `${name}=${this.share[g]}`] : []));
  }

  /** Return how much each group counts for metric i. */
  counted(i, shares) {
    if (i > 0) return this.share.map((_, g) => (g === i - 1 ? 1 : 0));
    if (!this.worst) return this.share;
    const losses = this.losses(shares);
    return losses.map((_, g) => (g === losses.indexOf(Math.max(...losses)) ? 1 : 0));
  }
}

/** Return the two codes in each byte. */
function halves(bytes) {
  const out = new Uint8Array(2 * bytes.length);
  bytes.forEach((one, at) => {
    out[2 * at] = one & 15;
    out[2 * at + 1] = one >> 4;
  });
  return out;
}

/** Return sum_k w_k p_ik of the row that begins at place `from`. As `rowDot`, with codes: a matrix of the numbers takes eight times the memory. */
function mixture(codes, likely, shares, from) {
  const width = shares.length;
  const whole = width - (width % 4);
  // Four sums at once: no addition waits for the one before it.
  let one = 0;
  let two = 0;
  let three = 0;
  let four = 0;
  for (let k = 0, at = from; k < whole; k += 4, at += 4) {
    one += likely[codes[at]] * shares[k];
    two += likely[codes[at + 1]] * shares[k + 1];
    three += likely[codes[at + 2]] * shares[k + 2];
    four += likely[codes[at + 3]] * shares[k + 3];
  }
  for (let k = whole; k < width; k++) one += likely[codes[from + k]] * shares[k];
  return one + two + (three + four);
}

/** Return sum_i f_i p_ik over rows `from` to `to`. As `addRows`, with codes. */
function weighted(codes, likely, factors, width, from, to) {
  const out = new Float64Array(width);
  let i = from;
  // Four rows at once: `out` is read and written less often.
  for (; i + 3 < to; i += 4) {
    const a = factors[i];
    const b = factors[i + 1];
    const c = factors[i + 2];
    const d = factors[i + 3];
    for (let k = 0, at = i * width; k < width; k++, at++) {
      out[k] += a * likely[codes[at]] + b * likely[codes[at + width]] + (c * likely[codes[at + 2 * width]] + d * likely[codes[at + 3 * width]]);
    }
  }
  for (; i < to; i++) for (let k = 0; k < width; k++) out[k] += factors[i] * likely[codes[i * width + k]];
  return out;
}

/**
 * -sum_i c_i log sum_k w_k p_ik. A code of each number leads to its depth below the best expert of the row and its probability relative to
 * that: a large table has 256 of them, and so takes a byte for each number, or 16. The rest of the loss is constant.
 */
export class Rows extends Groups {
  constructor(data) {
    super(data);
    this.offsets = data.offsets;
    this.count = this.offsets.at(-1);
    this.constant = unpack(data.constant);
    this.weight = typeof data.weight === "number" ? new Float64Array(this.count).fill(data.weight) : unpack(data.weight);
    const values = data.bits === 4 ? halves(unpack(data.values)) : unpack(data.values);
    this.width = Math.floor(values.length / this.count);
    if (data.depths) {
      [this.codes, this.depths] = [values, unpack(data.depths)];
    } else {
      [this.codes, this.depths] = [Uint32Array.from(values, (_, at) => at), new Float64Array(values.length)];
      this.measure("f2" in data.values ? Float64Array.from(values, half) : values);
    }
    this.likely = this.depths.map((depth) => Math.exp(-depth));
    this.factors = new Float64Array(this.count);
  }

  /** Take log-likelihoods apart: how far each is below the best of its row, and the level of that. */
  measure(values) {
    const { width, offsets } = this;
    for (let g = 0; g + 1 < offsets.length; g++) {
      for (let i = offsets[g]; i < offsets[g + 1]; i++) {
        let best = -Infinity;
        for (let at = i * width; at < (i + 1) * width; at++) best = Math.max(best, values[at]);
        for (let at = i * width; at < (i + 1) * width; at++) this.depths[at] = best - values[at];
        this.constant[g] -= this.weight[i] * best;
      }
    }
  }

  /** Return the probability of each row, relative to its best expert. Slopes need those of the losses before them. */
  mixed(given) {
    if (this.given !== given) {
      const shares = Float64Array.from(given);
      const { codes, count, likely, width } = this;
      const found = new Float64Array(count);
      for (let i = 0; i < count; i++) found[i] = mixture(codes, likely, shares, i * width);
      [this.given, this.found] = [given, found];
    }
    return this.found;
  }

  /** Return the logarithm of a probability that is too small for a number. */
  deep(i, shares) {
    const terms = Array.from(shares, (share, k) => (share > 0 ? Math.log(share) - this.depths[this.codes[i * this.width + k]] : -Infinity));
    const most = Math.max(...terms);
    return most === -Infinity ? most : most + Math.log(total(terms.map((term) => Math.exp(term - most))));
  }

  computed(given) {
    const { offsets, weight } = this;
    const mixed = this.mixed(given);
    return Array.from(this.constant, (constant, g) => {
      let sum = constant;
      for (let i = offsets[g]; i < offsets[g + 1]; i++) {
        if (weight[i] > 0) sum -= weight[i] * (mixed[i] > SMALL ? Math.log(mixed[i]) : this.deep(i, given));
      }
      return sum;
    });
  }

  sloping(g, given) {
    const { codes, factors, likely, offsets, weight, width } = this;
    const mixed = this.mixed(given);
    // Of a row that no expert of the mixture explains the slope has no bound; a large one leads away as well.
    for (let i = offsets[g]; i < offsets[g + 1]; i++) factors[i] = -weight[i] / Math.max(mixed[i], SMALL);
    return weighted(codes, likely, factors, width, offsets[g], offsets[g + 1]);
  }
}

/** w'Gw / 2, where G is the Gram matrix of the experts' errors. */
export class Squares extends Groups {
  constructor(data) {
    super(data);
    this.gram = data.gram.map(unpack);
  }

  /** Return the Gram matrix of group g times the shares, which is the gradient. */
  sloping(g, shares) {
    const width = shares.length;
    return Float64Array.from(shares, (_, k) => dot(this.gram[g], shares, k * width));
  }

  computed(shares) {
    return this.gram.map((_, g) => 0.5 * dot(shares, this.gradient(g, shares)));
  }
}
