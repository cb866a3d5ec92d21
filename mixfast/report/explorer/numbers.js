// Numbers of the page: arrays of its data, and how numbers are written.

const ARRAYS = { f8: Float64Array, f4: Float32Array, f2: Uint16Array, i2: Int16Array, u1: Uint8Array };

/**
 * Decode an array: base64 of float64 ("f8"), float32 ("f4"), the bits of float16 ("f2"), 16-bit integers ("i2") or bytes ("u1"), little-endian.
 *
 * Integers with {"steps": array} are the rows of an upper triangle, each in units of its step; {"low": array} has 8 further bits of each,
 * {"half": array} 4, of two numbers in a byte.
 */
export function unpack(packed) {
  const [kind, text] = Object.entries(packed)[0];
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const numbers = new ARRAYS[kind](bytes.buffer);
  return packed.steps ? triangle(numbers, packed, unpack(packed.steps)) : numbers;
}

function triangle(high, { low, half }, steps) {
  const rest = low || half ? unpack(low ?? half) : null;
  const whole = low ? (at) => 256 * high[at] + rest[at] : half ? (at) => 16 * high[at] + ((rest[at >> 1] >> (at % 2 ? 0 : 4)) & 15) : (at) => high[at];
  const out = new Float64Array(high.length);
  for (let i = 0, at = 0; i < steps.length; i++) {
    for (let j = i; j < steps.length; j++, at++) out[at] = whole(at) * steps[i];
  }
  return out;
}

/** Encode numbers as text for a link: float32, base64 with the characters that a fragment may hold. */
export function packed(numbers) {
  const bytes = new Uint8Array(Float32Array.from(numbers).buffer);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Decode what `packed` returned; null if the text is something else. */
export function unpacked(text) {
  try {
    return Array.from(unpack({ f4: text.replaceAll("-", "+").replaceAll("_", "/") }));
  } catch {
    return null;
  }
}

/** Return row `i` of a matrix that is stored row by row. */
export function row(matrix, i, width) {
  return matrix.subarray(i * width, (i + 1) * width);
}

/** Return the sum of a_i b_i, over the numbers of `a` from place `from` on. */
export function dot(a, b, from = 0) {
  // Four sums at once: no addition waits for the one before it.
  let one = 0;
  let two = 0;
  let three = 0;
  let four = 0;
  const whole = b.length - (b.length % 4);
  for (let i = 0, at = from; i < whole; i += 4, at += 4) {
    one += a[at] * b[i];
    two += a[at + 1] * b[i + 1];
    three += a[at + 2] * b[i + 2];
    four += a[at + 3] * b[i + 3];
  }
  for (let i = whole; i < b.length; i++) one += a[from + i] * b[i];
  return one + two + (three + four);
}

/** Return what `dot` does, over the first `width` numbers of `vector`; both are Float64Array: with one type alone it is twice as fast. */
export function rowDot(matrix, vector, from, width = vector.length) {
  const whole = width - (width % 4);
  let one = 0;
  let two = 0;
  let three = 0;
  let four = 0;
  for (let k = 0, at = from; k < whole; k += 4, at += 4) {
    one += matrix[at] * vector[k];
    two += matrix[at + 1] * vector[k + 1];
    three += matrix[at + 2] * vector[k + 2];
    four += matrix[at + 3] * vector[k + 3];
  }
  for (let k = whole; k < width; k++) one += matrix[from + k] * vector[k];
  return one + two + (three + four);
}

/** Add rows `from` to `to` of a matrix, each times its factor, to `out`. */
export function addRows(out, matrix, factors, from, to) {
  const width = out.length;
  let i = from;
  // Four rows at once: `out` is read and written less often.
  for (; i + 3 < to; i += 4) {
    const a = factors[i];
    const b = factors[i + 1];
    const c = factors[i + 2];
    const d = factors[i + 3];
    for (let k = 0, at = i * width; k < width; k++, at++) {
      out[k] += a * matrix[at] + b * matrix[at + width] + (c * matrix[at + 2 * width] + d * matrix[at + 3 * width]);
    }
  }
  for (; i < to; i++) for (let k = 0; k < width; k++) out[k] += factors[i] * matrix[i * width + k];
}

/** Return the least and the largest of some numbers. */
export function ends(numbers) {
  let [least, largest] = [Infinity, -Infinity];
  for (const one of numbers) {
    if (one < least) least = one;
    if (one > largest) largest = one;
  }
  return [least, largest];
}

export function total(numbers) {
  let sum = 0;
  for (const one of numbers) sum += one;
  return sum;
}

// Between a number and its unit no line ends.
const GAP = "\u00a0";

/** Write a share as a percentage; a tiny one is not shown as 0. */
export function percent(share) {
  if (share <= 0) return `0${GAP}%`;
  if (share < 5e-5) return `<0.01${GAP}%`;
  return `${(100 * share).toFixed(share < 0.0995 ? 2 : 1)}${GAP}%`;
}

/** Write a number of tokens: 3.2B. */
export function tokens(count) {
  for (const [unit, size] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (count >= size) return `${(count / size).toPrecision(3)}${unit}`;
  }
  return count.toFixed(0);
}

/** Write a number with this many significant digits, without a power of ten where it can be read without one. */
export function digits(value, count = 5) {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-4 || size >= 1e7) ? value.toExponential(count - 1) : String(Number(value.toPrecision(count)));
}

/** Write a change with its sign; a minus sign is a real one. */
export function signed(value, count = 3) {
  if (!Number.isFinite(value)) return "-";
  const text = digits(Math.abs(value), count);
  return value > 0 ? `+${text}` : value < 0 ? `\u2212${text}` : "0";
}
