// Elements of the page. Names become text, never HTML.

/** Make an element with attributes and children; a child is an element or text. */
export function element(tag, attributes = {}, ...children) {
  const out = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) out.addEventListener(name.slice(2), value);
    else if (value === true) out.setAttribute(name, "");
    else if (value !== false && value !== null) out.setAttribute(name, value);
  }
  out.append(...children);
  return out;
}

export function button(words, act) {
  return element("button", { type: "button", onclick: act }, words);
}

export function labelled(words, input) {
  return element("label", {}, element("span", {}, words), input);
}

export function select(options, act) {
  const out = element("select", { onchange: () => act(out.value) });
  for (const [value, words] of options) out.append(element("option", { value }, words));
  return out;
}

/** Write text only where it differs, so that screen readers are told of changes alone. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Return the part of a name that a family shares. */
function family(name) {
  return name.split(/[/:._-]/)[0];
}

/** The filter, order and families of a table's rows. `rows` have a name, a node, and a function `change()`. */
export class Arrangement {
  constructor(what, rows, body) {
    Object.assign(this, { rows, body, headings: new Map() });
    this.filter = element("input", { type: "search", placeholder: `Filter ${what}`, "aria-label": `Filter ${what}`, oninput: () => this.apply() });
    this.order = select([["given", "in the given order"], ["change", "largest change first"]], () => this.apply());
    this.order.setAttribute("aria-label", `Order of ${what}`);
    this.families = element("input", { type: "checkbox", "aria-label": `${what} by family`, onchange: () => this.apply() });
    this.node = element("div", { class: "arrange" }, this.filter, this.order, element("label", {}, this.families, " by family"));
  }

  apply() {
    const words = this.filter.value.toLowerCase();
    const shown = this.rows.filter((one) => one.name.toLowerCase().includes(words));
    if (this.order.value === "change") shown.sort((one, other) => Math.abs(other.change()) - Math.abs(one.change()));
    const nodes = this.families.checked ? this.grouped(shown) : shown.map((one) => one.node);
    // Rows that are put where they are would lose the focus.
    const same = nodes.length === this.body.children.length && nodes.every((node, i) => node === this.body.children[i]);
    if (same) return;
    const focused = document.activeElement;
    this.body.replaceChildren(...nodes);
    if (this.body.contains(focused)) focused.focus();
  }

  /** Return the rows with a heading before each family. */
  grouped(rows) {
    const families = new Map();
    for (const one of rows) families.set(family(one.name), [...(families.get(family(one.name)) ?? []), one.node]);
    return [...families].flatMap(([name, nodes]) => [this.heading(name, nodes.length), ...nodes]);
  }

  heading(name, count) {
    const words = `${name} (${count})`;
    if (this.headings.get(name)?.textContent !== words) {
      this.headings.set(name, element("tr", { class: "family", role: "row" }, element("th", { scope: "rowgroup", colspan: 99 }, words)));
    }
    return this.headings.get(name);
  }
}
