// The table of domains: a slider, a number and a lock for each, with epochs, tokens, and the shares of other mixtures.

import { Arrangement, element, set, write } from "./elements.js";
import { inProportion, withinLimits } from "./moves.js";
import { percent, signed, tokens } from "./numbers.js";
import { Sight } from "./sight.js";

// Positions of a slider; shares are their squares, so that small shares can be set finely.
const POSITIONS = 1000;
const share = (position) => (position / POSITIONS) ** 2;
const position = (value) => Math.round(Math.sqrt(value) * POSITIONS);

class Domain {
  constructor(k, name, app) {
    Object.assign(this, { k, name, app });
    const { state } = app;
    this.slider = element("input", {
      type: "range", min: 0, max: POSITIONS, "aria-label": `Share of ${name}`,
      oninput: () => this.slide(), onchange: () => state.end(),
    });
    this.number = element("input", {
      type: "number", min: 0, max: 100, step: "any", "aria-label": `Share of ${name} in percent`,
      onchange: () => {
        if (Number.isFinite(this.number.valueAsNumber)) this.move(this.number.valueAsNumber / 100);
        state.end();
      },
    });
    this.lock = element("input", { type: "checkbox", "aria-label": `Lock ${name}`, onchange: () => state.lock(k, this.lock.checked) });
    this.epochs = element("td", { role: "cell", "data-label": "epochs" });
    this.tokens = element("td", { role: "cell", "data-label": "tokens" });
    this.head = element("th", { scope: "row", role: "rowheader", title: name }, name);
    this.others = [];
    this.node = element("tr", { role: "row" }, this.head,
      element("td", { role: "cell", class: "slide" }, this.slider),
      element("td", { role: "cell" }, this.number, " %"),
      element("td", { role: "cell", class: "lock", "data-label": "lock" }, this.lock),
      ...(app.data.available ? [this.epochs, this.tokens] : []));
  }

  /** Take the position of the slider; where it was when the drag began, the share is what it was then. */
  slide() {
    const at = this.slider.valueAsNumber;
    this.app.state.begin();
    const start = this.app.state.before[this.k];
    this.move(at === position(start) ? start : share(at));
  }

  /** Give the domain a share, from the mixture before the gesture: the result does not depend on the way there. */
  move(value) {
    const { state, limits } = this.app;
    state.begin();
    const { before, locked } = state;
    const adapt = state.way === "limits" ? withinLimits : inProportion;
    state.move(value === before[this.k] ? before : adapt(before, this.k, value, locked, limits));
  }

  /** Return how far the share is from that in the i-th mixture that is compared. */
  change(i) {
    return Math.abs(this.app.state.shares[this.k] - this.others[i][1]);
  }

  /** Make a cell for each mixture that is compared. */
  columns(mixtures) {
    this.others.forEach(([node]) => node.remove());
    this.others = mixtures.map((one) => [element("td", { role: "cell", class: "other", "data-label": one.name }), one.shares[this.k]]);
    this.node.append(...this.others.map(([node]) => node));
  }

  update(outside) {
    const { state, data } = this.app;
    const value = state.shares[this.k];
    const locked = state.locked.has(this.k);
    set(this.slider, "value", String(position(value)));
    set(this.slider, "aria-valuetext", percent(value));
    if (document.activeElement !== this.number || !state.gesture) set(this.number, "value", (100 * value).toFixed(value < 0.0995 ? 3 : 2));
    set(this.lock, "checked", locked);
    set(this.slider, "disabled", locked);
    set(this.number, "disabled", locked);
    set(this.node, "className", outside ? "outside" : "");
    this.others.forEach(([node, other]) => write(node, `${percent(other)} (${signed(100 * (value - other), 2)})`));
    if (!data.available) return;
    const passes = (value * data.budget) / data.available[this.k];
    write(this.epochs, value > 0 ? passes.toFixed(2) + (passes > 4 * (1 + 1e-6) ? " !" : "") : "0");
    write(this.tokens, tokens(value * data.budget));
  }
}

export class Domains {
  constructor(app) {
    this.app = app;
    this.rows = app.data.model.domains.map((name, k) => new Domain(k, name, app));
    const body = element("tbody", { role: "rowgroup" });
    this.header = element("tr", { role: "row" });
    this.arrangement = new Arrangement("domains", this.rows, body, [["change", "largest change from"]]);
    this.sight = new Sight(this.rows, () => app.state.gesture && app.later(false));
    this.table = element("table", { role: "table", class: "shares" }, element("thead", { role: "rowgroup" }, this.header), body);
    this.node = element("div", { class: "half" }, element("h3", {}, "Domains"), this.arrangement.node, element("div", { class: "scroll" }, this.table));
  }

  columns(mixtures) {
    const own = ["domain", "", "share", "lock", ...(this.app.data.available ? ["epochs", "tokens"] : [])];
    const heads = [...own, ...mixtures.map((one) => `${one.name}, points`)];
    const kinds = ["name", "slide", "share", "tick", ...own.slice(4).map(() => "amount"), ...mixtures.map(() => "other")];
    this.header.replaceChildren(...heads.map((words, i) => element("th", { scope: "col", role: "columnheader", class: kinds[i] }, words)));
    this.table.style.setProperty("--columns", kinds.map((kind) => `var(--${kind})`).join(" "));
    this.rows.forEach((one) => one.columns(mixtures));
    this.arrangement.columns(mixtures);
  }

  /** Write the rows, or only those on the screen. */
  update(all) {
    const outside = this.app.runs.at(this.app.state.shares).far;
    for (const one of all ? this.rows : this.sight.rows) one.update(outside.has(one.k));
  }
}
