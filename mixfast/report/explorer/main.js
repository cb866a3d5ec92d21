// The explorer: joins the model, the state and the tables of the page.

import { Controls } from "./controls.js";
import { Runs } from "./distance.js";
import { Domains } from "./domains.js";
import { element } from "./elements.js";
import { Limits } from "./limits.js";
import { Metrics } from "./metrics.js";
import { Model } from "./model.js";
import { unpack } from "./numbers.js";
import { State } from "./state.js";

class Explorer {
  constructor(place, data) {
    this.data = { ...data, available: data.available && unpack(data.available) };
    this.model = new Model(data.model);
    this.limits = new Limits(data.limits, data.model.domains);
    this.runs = new Runs(data.runs, data.model.domains);
    const mixtures = data.mixtures.map(({ name, shares }) => ({ name, shares: Array.from(unpack(shares)) }));
    this.state = new State(data.model.domains, data.model.metrics, mixtures);
    this.state.move(mixtures[data.start].shares);
    data.compared.forEach((i) => this.state.compared.add(i));
    this.controls = new Controls(this);
    this.domains = new Domains(this);
    this.metrics = new Metrics(this);
    this.state.changed = (settled) => this.later(settled);
    this.controls.node.prepend(...data.words.map((one) => element("p", {}, one)));
    place.replaceChildren(this.controls.node, this.domains.node, this.metrics.node);
    // A link that holds a mixture leads here, wherever the explorer is in its page.
    if (this.state.restore(location.hash)) place.closest("section")?.scrollIntoView();
    this.update(true);
    addEventListener("hashchange", () => this.state.restore(location.hash) && this.later(true));
    this.prepare();
  }

  /** Update the page and its link before the next frame, however many changes come before it. */
  later(settled, all = settled) {
    this.settled ||= settled;
    this.all ||= all;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.update(this.settled, this.all);
      // The link to a page that nobody has touched stays as it is; a page inside another one has no address of its own.
      if (this.settled && location.protocol !== "about:") history.replaceState(null, "", this.state.fragment());
      this.settled = this.all = false;
    });
  }

  /** Write the state into the page; columns and order change, and rows that are off the screen are written, only when a gesture is over. */
  update(settled, all = settled) {
    const { state } = this;
    this.values = this.model.values(state.shares);
    if (settled) {
      this.columns(state.mixtures.filter((_, i) => state.compared.has(i)));
      this.controls.columns();
    }
    for (const part of [this.controls, this.domains, this.metrics]) part.update(all);
    if (!settled) return;
    for (const part of [this.domains, this.metrics]) part.arrangement.apply();
  }

  /** Make the columns of the mixtures that are compared, unless they are there. */
  columns(mixtures) {
    if (mixtures.length === this.shown?.length && mixtures.every((one, i) => one === this.shown[i])) return;
    this.shown = mixtures;
    for (const part of [this.domains, this.metrics]) part.columns(mixtures);
  }

  steered(metric, goal, found, over) {
    this.values = this.model.values(this.state.shares);
    this.metrics.steered(metric, goal, found, over);
  }

  /** Compute what error bars need, one metric at a time, so that the page stays responsive. */
  prepare() {
    if (this.model.prepareNext()) setTimeout(() => this.prepare());
    else this.later(false, true);
  }
}

new Explorer(document.getElementById("explorer"), JSON.parse(document.getElementById("explorer-data").textContent));
