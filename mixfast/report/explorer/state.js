// The state of the page: the mixture, what is locked, what it is compared with, and the steps that can be undone.

import { packed, total, unpacked } from "./numbers.js";

const MOST_STEPS = 200;
// The choices of what the other domains do when one moves.
export const WAYS = { limits: "least KL change within the limits", proportion: "keep their proportions, limits may break" };

export class State {
  constructor(domains, metrics, mixtures) {
    this.size = domains.length;
    this.metrics = metrics.length;
    this.mixtures = mixtures;
    this.shares = Array.from(mixtures[0].shares);
    this.before = this.shares;
    this.locked = new Set();
    // Metrics that a goal for another one must not make worse.
    this.held = new Set();
    this.way = "limits";
    this.compared = new Set([0]);
    this.steps = [];
    // What a drag is known by; null while nothing is dragged.
    this.gesture = null;
    this.changed = () => {};
  }

  /** Remember the present mixture, once until `end`: a drag is one step to undo. */
  begin() {
    if (this.gesture) return;
    this.gesture = {};
    this.before = this.shares;
    this.steps.push(this.shares);
    if (this.steps.length > MOST_STEPS) this.steps.shift();
  }

  end() {
    this.gesture = null;
    this.changed(true);
  }

  move(shares) {
    const sum = total(shares);
    // What is whole stays as it is, to the last digit.
    this.shares = Math.abs(sum - 1) < 1e-14 ? shares : shares.map((share) => Math.max(share, 0) / sum);
    this.changed(false);
  }

  /** Change the mixture as one step. */
  put(shares) {
    this.begin();
    this.move(shares);
    this.end();
  }

  undo() {
    if (!this.steps.length) return;
    this.before = this.shares = this.steps.pop();
    this.end();
  }

  lock(k, on) {
    if (on) this.locked.add(k);
    else this.locked.delete(k);
    this.changed(true);
  }

  hold(j, on) {
    if (on) this.held.add(j);
    else this.held.delete(j);
    this.changed(true);
  }

  pin() {
    const count = this.mixtures.filter((one) => one.pinned).length + 1;
    this.mixtures.push({ name: `pin ${count}`, shares: this.shares, pinned: true });
    this.compared.add(this.mixtures.length - 1);
    this.changed(true);
  }

  compare(i, on) {
    if (on) this.compared.add(i);
    else this.compared.delete(i);
    this.changed(true);
  }

  /** Return the state as the fragment of a link. */
  fragment() {
    const out = new URLSearchParams({ mix: packed(this.shares), way: this.way });
    if (this.locked.size) out.set("lock", [...this.locked].join("."));
    if (this.held.size) out.set("hold", [...this.held].join("."));
    out.set("with", [...this.compared].join("."));
    for (const one of this.mixtures) if (one.pinned) out.append("pin", packed(one.shares));
    return `#${out}`;
  }

  /** Take the state from a fragment; return whether it held one of this page. */
  restore(fragment) {
    const given = new URLSearchParams(fragment.slice(1));
    const mixtures = [given.get("mix"), ...given.getAll("pin")].map((text) => this.mixture(text));
    if (mixtures.includes(null)) return false;
    const places = (name, below) => (given.get(name) ?? "").split(".").filter(Boolean).map(Number).filter((place) => place < below);
    this.mixtures = this.mixtures.filter((one) => !one.pinned);
    mixtures.slice(1).forEach((shares, i) => this.mixtures.push({ name: `pin ${i + 1}`, shares, pinned: true }));
    this.locked = new Set(places("lock", this.size));
    this.held = new Set(places("hold", this.metrics));
    this.compared = new Set(places("with", this.mixtures.length));
    this.way = given.get("way") in WAYS ? given.get("way") : this.way;
    this.move(mixtures[0]);
    this.before = this.shares;
    return true;
  }

  mixture(text) {
    const shares = text ? unpacked(text) : null;
    const whole = shares?.length === this.size && shares.every((share) => share >= 0) && Math.abs(total(shares) - 1) < 1e-3;
    return whole ? shares : null;
  }
}
