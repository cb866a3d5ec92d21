// The table of metrics: the prediction with its interval, a slider to steer by, and the gain over other mixtures.

import { shell, wholeYaml } from "./copying.js";
import { Arrangement, element, write } from "./elements.js";
import { digits, signed } from "./numbers.js";
import { pull } from "./pull.js";
import { steer } from "./steering.js";

// The 90 % interval of a normal distribution, in standard deviations.
const Z90 = 1.6448536269514722;
const POSITIONS_OF_GOALS = 400;
// A slider reaches this many standard deviations of the runs to both sides of the first mixture.
const REACH = 2;

class Metric {
  constructor(j, metric, app) {
    Object.assign(this, { j, app, ...metric });
    this.middle = app.model.value(j, app.state.mixtures[0].shares);
    this.span = REACH * (metric.spread || 0.05 * Math.abs(this.middle) || 1);
    const way = metric.sign > 0 ? "lower" : "higher";
    this.goal = element("input", {
      type: "range", min: 0, max: POSITIONS_OF_GOALS, "aria-label": `Goal for ${metric.name}, ${way} is better`,
      oninput: () => this.steer(), onchange: () => app.state.end(),
    });
    this.now = element("td", { role: "cell", "data-label": "now" });
    this.error = element("td", { role: "cell", "data-label": "±90 %" });
    this.node = element("tr", { role: "row" },
      element("th", { scope: "row", role: "rowheader", title: `${metric.name}: ${metric.law}, ${metric.unit}, ${way} is better` }, metric.name),
      element("td", { role: "cell", class: "slide" }, this.goal), this.now, ...(app.model.intervals ? [this.error] : []));
    this.others = [];
  }

  value() {
    return this.app.values[this.j];
  }

  change() {
    return (this.value() - this.app.model.value(this.j, this.app.reference())) / (this.spread || 1);
  }

  position(value) {
    return Math.round(POSITIONS_OF_GOALS * (0.5 + (value - this.middle) / (2 * this.span)));
  }

  steer() {
    const { model, limits, state } = this.app;
    state.begin();
    const goal = this.middle + (2 * this.goal.valueAsNumber / POSITIONS_OF_GOALS - 1) * this.span;
    const found = steer(model, limits, state.before, state.locked, this.j, goal);
    state.move(found.shares);
    this.app.steered(this, goal, found);
  }

  columns(mixtures) {
    this.others.forEach(([node]) => node.remove());
    this.others = mixtures.map((one) => [element("td", { role: "cell", class: "other", "data-label": `gain over ${one.name}` }), this.app.model.value(this.j, one.shares)]);
    this.node.append(...this.others.map(([node]) => node));
  }

  update() {
    const value = this.value();
    const at = this.position(value);
    if (document.activeElement !== this.goal || !this.app.state.gesture) this.goal.value = at;
    this.goal.setAttribute("aria-valuetext", digits(value));
    write(this.now, digits(value));
    if (this.app.model.intervals) {
      const sd = this.app.model.sd(this.j, this.app.state.shares);
      write(this.error, Number.isFinite(sd) ? digits(Z90 * sd, 2) : "\u2026");
    }
    for (const [node, other] of this.others) {
      const gain = this.sign * (other - value);
      const rounding = 1e-12 * Math.abs(value);
      write(node, signed(Math.abs(gain) <= rounding ? 0 : gain));
      node.className = gain < -rounding ? "other worse" : gain > rounding ? "other better" : "other";
    }
  }
}

export class Metrics {
  constructor(app) {
    this.app = app;
    this.rows = app.model.metrics.map((one, j) => new Metric(j, one, app));
    const body = element("tbody", { role: "rowgroup" });
    this.header = element("tr", { role: "row" });
    this.arrangement = new Arrangement("metrics", this.rows, body);
    this.told = element("p", { class: "told", role: "status" });
    this.line = element("code", {});
    this.command = element("pre", { hidden: true }, this.line);
    const table = element("table", { role: "table", class: "predictions" }, element("thead", { role: "rowgroup" }, this.header), body);
    const words = "Drag a metric: the mixture takes the least change that reaches the value, to first order. Gains: + is better.";
    this.node = element("div", { class: "half" }, element("h3", {}, "Metrics"), this.arrangement.node, element("p", { class: "soft" }, words),
      this.told, this.command, element("div", { class: "scroll" }, table));
  }

  columns(mixtures) {
    const heads = ["metric", "goal", "now", ...(this.app.model.intervals ? ["± 90 %"] : []), ...mixtures.map((one) => `gain over ${one.name}`)];
    this.header.replaceChildren(...heads.map((words) => element("th", { scope: "col", role: "columnheader" }, words)));
    this.rows.forEach((one) => one.columns(mixtures));
  }

  update() {
    this.rows.forEach((one) => one.update());
  }

  /** Say what a goal did, and the command that computes the exact answer. */
  steered(metric, goal, found) {
    const { limits, data, state } = this.app;
    const locks = [...state.locked].map((k) => `the lock of ${data.model.domains[k]}`);
    const stands = [...limits.binding(found.shares), ...locks];
    const why = stands.length ? ` In the way: ${stands.slice(0, 6).join(", ")}${stands.length > 6 ? ", and others" : ""}.` : " No mixture near it reaches further.";
    const words = found.reached ? `${metric.name} reaches ${digits(goal)}.` : `${metric.name} does not reach ${digits(goal)}: it stops at ${digits(metric.value())}.${why}`;
    write(this.told, words);
    if (!data.command) return;
    const sign = metric.sign > 0 ? "<=" : ">=";
    const reach = ["--reach", `${metric.name}${sign}${digits(goal)}`, "--near", "near.yaml"];
    // `mixfast solve` takes no locks, and no goals that make a loss worse.
    const options = data.runs ? reach : state.locked.size ? null : pull(this.app.model, limits, metric.j, state.before, found.shares);
    this.command.hidden = !options;
    if (!options) return;
    const near = wholeYaml(data.model.domains, state.before).trimEnd().split("\n").map((line) => `# ${line}`);
    write(this.line, [`# The exact answer; near.yaml is the mixture before the drag:`, ...near, [...data.command, ...options].map(shell).join(" ")].join("\n"));
  }
}
