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
  if (node.textContent === text) return;
  if (node.firstChild) node.firstChild.data = text;
  else node.textContent = text;
}

/** Set a property, or an attribute whose name has a hyphen, only where it differs: the browser computes layout and style for each change. */
export function set(node, name, value) {
  if (!name.includes("-")) {
    if (node[name] !== value) node[name] = value;
  } else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Return the part of a name that a family shares. */
function family(name) {
  return name.split(/[/:._-]/)[0];
}

/**
 * The filter, order and families of a table's rows. `rows` have a name and a node; `orders` are the name of a method and words, and sort by
 * what the method returns for a mixture that is compared: the largest size first.
 */
export class Arrangement {
  constructor(what, rows, body, orders) {
    Object.assign(this, { rows, body, orders, headings: new Map() });
    this.filter = element("input", { type: "search", placeholder: `Filter ${what}`, "aria-label": `Filter ${what}`, oninput: () => this.apply() });
    this.order = select([], () => this.apply());
    this.order.setAttribute("aria-label", `Order of ${what}`);
    this.families = element("input", { type: "checkbox", "aria-label": `${what} by family`, onchange: () => this.apply() });
    this.node = element("div", { class: "arrange" }, this.filter, this.order, element("label", {}, this.families, " by family"));
  }

  /** Offer the orders for the mixtures that are compared; the chosen one stays if its mixture does. */
  columns(mixtures) {
    const chosen = this.order.selectedOptions[0]?.textContent;
    this.keys = [null, (one, other) => one.name.localeCompare(other.name)];
    const words = ["in the given order", "by name"];
    for (const [method, told] of this.orders) {
      mixtures.forEach((mixture, i) => {
        this.keys.push((one, other) => other[method](i) - one[method](i));
        words.push(`${told} ${mixture.name}`);
      });
    }
    this.order.replaceChildren(...words.map((text, value) => element("option", { value }, text)));
    this.order.value = Math.max(words.indexOf(chosen), 0);
  }

  apply() {
    const words = this.filter.value.toLowerCase();
    const shown = this.rows.filter((one) => one.name.toLowerCase().includes(words));
    const key = this.keys[this.order.value];
    if (key) shown.sort(key);
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
