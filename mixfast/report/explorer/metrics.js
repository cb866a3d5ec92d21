// The table of metrics: the prediction with its interval, a slider to steer by, and the gain over other mixtures.

import { question, reachOptions } from "./copying.js";
import { Arrangement, element, set, write } from "./elements.js";
import { digits, signed } from "./numbers.js";
import { pull } from "./pull.js";
import { Sight } from "./sight.js";
import { EXACTLY, NEARLY, steer } from "./steering.js";

// The 90 % interval of a normal distribution, in standard deviations.
const Z90 = 1.6448536269514722;
const POSITIONS_OF_GOALS = 400;
// A slider reaches this many standard deviations of the runs to both sides of the first mixture.
const REACH = 2;
// A held metric that is worse by less than this fraction of its standard deviation over the runs is as it was.
const SLACK = 1e-5;

class Metric {
  constructor(j, metric, app) {
    Object.assign(this, { j, app, ...metric });
    this.middle = app.model.value(j, app.state.mixtures[0].shares);
    this.span = REACH * (metric.spread || 0.05 * Math.abs(this.middle) || 1);
    const way = metric.sign > 0 ? "lower" : "higher";
    this.goal = element("input", {
      type: "range", min: 0, max: POSITIONS_OF_GOALS, "aria-label": `Goal for ${metric.name}, ${way} is better`,
      oninput: () => this.steer(false),
      // A change that no movement came before asks for nothing.
      onchange: () => {
        if (app.state.gesture) this.steer(true);
        app.state.end();
      },
    });
    this.hold = element("input", { type: "checkbox", "aria-label": `Hold ${metric.name}`, onchange: () => app.state.hold(j, this.hold.checked) });
    this.now = element("td", { role: "cell", "data-label": "now" });
    this.error = element("td", { role: "cell", "data-label": "±90 %" });
    this.node = element("tr", { role: "row" },
      element("th", { scope: "row", role: "rowheader", title: `${metric.name}: ${metric.law}, ${metric.unit}, ${way} is better` }, metric.name),
      element("td", { role: "cell", class: "slide" }, this.goal),
      element("td", { role: "cell", class: "hold", "data-label": "hold" }, this.hold), this.now, ...(app.model.intervals ? [this.error] : []));
    this.others = [];
  }

  value() {
    return this.app.values[this.j];
  }

  /** Return how far the metric is from that of the i-th mixture that is compared, in standard deviations of the runs. */
  change(i) {
    return Math.abs(this.loss(i));
  }

  /** Return how much worse the metric is than for the i-th mixture that is compared, in standard deviations of the runs. */
  loss(i) {
    return (this.sign * (this.value() - this.others[i][1])) / (this.spread || 1);
  }

  /** Return the place of a value on the slider; values beyond its reach are at its ends. */
  position(value) {
    const at = Math.round(POSITIONS_OF_GOALS * (0.5 + (value - this.middle) / (2 * this.span)));
    return Math.min(Math.max(at, 0), POSITIONS_OF_GOALS);
  }

  /** Return the metric before the last gesture. */
  earlier() {
    const { before } = this.app.state;
    if (this.of !== before) [this.of, this.was] = [before, this.app.model.value(this.j, before)];
    return this.was;
  }

  /** Take the mixture to where the slider is: nearly, from the mixture of its last place, until the drag is over. */
  steer(over) {
    const { model, limits, state } = this.app;
    state.begin();
    const at = this.goal.valueAsNumber;
    const start = this.earlier();
    // Where the slider was when the drag began, the mixture is what it was then. Else the goal is the number that the page shows.
    const goal = at === this.position(start) ? start : Number(digits(this.middle + (2 * at / POSITIONS_OF_GOALS - 1) * this.span, 6));
    // The end of a drag depends on where it began alone, not on the way.
    const from = over || this.gesture !== state.gesture ? state.before : this.last;
    const found = steer(model, limits, state.before, state, this.j, goal, over ? EXACTLY : NEARLY, from);
    [this.gesture, this.last] = [state.gesture, found.shares];
    state.move(found.shares);
    this.app.steered(this, goal, found, over);
  }

  columns(mixtures) {
    this.others.forEach(([node]) => node.remove());
    this.others = mixtures.map((one) => [element("td", { role: "cell", class: "other", "data-label": `gain over ${one.name}` }), this.app.model.value(this.j, one.shares)]);
    this.node.append(...this.others.map(([node]) => node));
  }

  update() {
    const value = this.value();
    if (document.activeElement !== this.goal || !this.app.state.gesture) set(this.goal, "value", String(this.position(value)));
    set(this.goal, "aria-valuetext", digits(value));
    write(this.now, digits(value));
    const held = this.app.state.held.has(this.j);
    set(this.hold, "checked", held);
    // While another metric is dragged, holds are met only nearly.
    const marked = held && !this.app.metrics.steering();
    set(this.now, "className", marked && this.sign * (value - this.earlier()) > SLACK * (this.spread || Math.abs(value)) ? "slipped" : "");
    if (this.app.model.intervals) {
      const sd = this.app.model.sd(this.j, this.app.state.shares);
      write(this.error, Number.isFinite(sd) ? digits(Z90 * sd, 2) : "\u2026");
    }
    for (const [node, other] of this.others) {
      const gain = this.sign * (other - value);
      const rounding = 1e-12 * Math.abs(value);
      write(node, signed(Math.abs(gain) <= rounding ? 0 : gain));
      set(node, "className", gain < -rounding ? "other worse" : gain > rounding ? "other better" : "other");
    }
  }
}

export class Metrics {
  constructor(app) {
    this.app = app;
    this.rows = app.model.metrics.map((one, j) => new Metric(j, one, app));
    const body = element("tbody", { role: "rowgroup" });
    this.header = element("tr", { role: "row" });
    this.arrangement = new Arrangement("metrics", this.rows, body, [["loss", "smallest gain over"], ["change", "largest change from"]]);
    this.sight = new Sight(this.rows, () => app.state.gesture && app.later(false));
    this.told = element("p", { class: "told", role: "status" });
    this.line = element("code", {});
    this.command = element("pre", { hidden: true }, this.line);
    this.table = element("table", { role: "table", class: "predictions" }, element("thead", { role: "rowgroup" }, this.header), body);
    const words = "Drag a metric: the mixture takes the least change that reaches the value. Gains: + is better.";
    this.node = element("div", { class: "half" }, element("h3", {}, "Metrics"), this.arrangement.node, element("p", { class: "soft" }, words),
      this.told, this.command, element("div", { class: "scroll" }, this.table));
  }

  columns(mixtures) {
    const heads = ["metric", "goal", "hold", "now", ...(this.app.model.intervals ? ["± 90 %"] : []), ...mixtures.map((one) => `gain over ${one.name}`)];
    const kinds = ["name", "slide", "tick", "now", ...(this.app.model.intervals ? ["error"] : []), ...mixtures.map(() => "other")];
    this.header.replaceChildren(...heads.map((words, i) => element("th", { scope: "col", role: "columnheader", class: kinds[i] }, words)));
    this.table.style.setProperty("--columns", kinds.map((kind) => `var(--${kind})`).join(" "));
    this.rows.forEach((one) => one.columns(mixtures));
    this.arrangement.columns(mixtures);
  }

  /** Whether a metric is being dragged. */
  steering() {
    return this.app.state.gesture && this.toldOf === this.app.state.shares;
  }

  /** Write the rows, or only those on the screen. */
  update(all) {
    for (const one of all ? this.rows : this.sight.rows) one.update();
    const { shares } = this.app.state;
    this.told.classList.toggle("stale", shares !== this.toldOf);
    this.command.classList.toggle("stale", shares !== this.answers);
  }

  /** Say what a goal did, and when the drag is over, the command that computes the exact answer. */
  steered(metric, goal, found, over) {
    const stands = found.standing;
    const why = stands.length ? ` In the way: ${stands.slice(0, 6).join(", ")}${stands.length > 6 ? `, and ${stands.length - 6} more` : ""}.` : " No mixture near it reaches further.";
    const words = found.reached ? `${metric.name} reaches ${digits(goal)}.` : `${metric.name} does not reach ${digits(goal)}: it stops at ${digits(metric.value())}.${why}`;
    write(this.told, words);
    const { data, state } = this.app;
    // The mixtures that the words and the command are about: at any other one they are marked.
    this.toldOf = state.shares;
    if (!data.command || !over) return;
    this.answers = state.shares;
    // `mixfast solve` knows no locks and no holds.
    const free = !state.locked.size && [...state.held].every((j) => j === metric.j);
    const options = data.runs ? reachOptions(data.model, state, metric, goal, metric.earlier())
      : free ? pull(this.app.model, this.app.limits, metric.j, state.before, found.shares) : null;
    this.command.hidden = !options;
    if (options) write(this.line, question(data, state.before, options));
  }
}
