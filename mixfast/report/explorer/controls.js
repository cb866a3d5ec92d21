// What is above the tables: undo, reset, pins, copies, the mixtures to compare with, and what speaks against the mixture.

import { FORMATS } from "./copying.js";
import { button, element, labelled, select, set, write } from "./elements.js";
import { percent } from "./numbers.js";
import { WAYS } from "./state.js";

export class Controls {
  constructor(app) {
    this.app = app;
    const { state } = app;
    this.undo = button("Undo", () => state.undo());
    this.reset = element("span", { class: "group" });
    this.way = select(Object.entries(WAYS), (way) => {
      state.way = way;
      state.changed(true);
    });
    this.text = element("textarea", { readonly: true, rows: 6, hidden: true, "aria-label": "The mixture as text" });
    const copies = Object.keys(FORMATS).map((format) => button(`Copy as ${format}`, () => this.copy(format)));
    this.compared = element("fieldset", {}, element("legend", {}, "Compare with"));
    this.boxes = [];
    this.allowed = element("p", { role: "status" });
    this.inside = element("p", { role: "status" });
    this.node = element("div", { class: "controls" },
      element("div", { class: "buttons" }, this.undo, this.reset, button("Pin this mixture", () => state.pin()), ...copies),
      element("div", { class: "buttons" }, labelled("Other domains: ", this.way), this.compared), this.text, this.allowed, this.inside);
  }

  copy(format) {
    const { data, state } = this.app;
    this.text.value = FORMATS[format](data.model.domains, state.shares);
    this.text.hidden = false;
    this.text.select();
    // Some browsers refuse this for local files; the text is selected then.
    navigator.clipboard?.writeText(this.text.value).catch(() => {});
  }

  /** Make a button and a check box for each mixture; those that exist stay, with the focus. */
  columns() {
    const { state } = this.app;
    if (this.mixtures === state.mixtures.length) return;
    this.mixtures = state.mixtures.length;
    this.boxes = [];
    this.reset.replaceChildren(...state.mixtures.map((one, i) => button(`Go to ${one.name}`, () => state.put(state.mixtures[i].shares))));
    const boxes = state.mixtures.map((one, i) => {
      const box = element("input", { type: "checkbox", onchange: () => state.compare(i, box.checked) });
      this.boxes[i] = box;
      return element("label", {}, box, ` ${one.name}`);
    });
    this.compared.replaceChildren(this.compared.firstChild, ...boxes);
  }

  update() {
    const { state, limits, runs } = this.app;
    this.undo.disabled = !state.steps.length;
    this.way.value = state.way;
    this.boxes.forEach((box, i) => (box.checked = state.compared.has(i)));
    const broken = limits.broken(state.shares);
    this.say(this.allowed, broken.length ? `Breaks limits. ${broken.slice(0, 4).join("; ")}${broken.length > 4 ? `; and ${broken.length - 4} more` : ""}.` : "Allowed: no limit is broken.", broken.length);
    this.inside.hidden = runs.unknown;
    const outside = runs.outside(state.shares);
    const { near } = runs.at(state.shares);
    const close = near === null ? "" : ` ${percent(near)} of the tokens differ from the nearest run.`;
    this.say(this.inside, outside.length ? `Outside what any run has seen. ${outside.slice(0, 4).join("; ")}${outside.length > 4 ? `; and ${outside.length - 4} more` : ""}.` : `No domain has a larger share than in some run.${close}`, outside.length);
  }

  say(node, words, bad) {
    write(node, words);
    set(node, "className", bad ? "bad" : "good");
  }
}
