// Which rows are on the screen: only those are written while something is dragged.

// Rows that are about to be scrolled into the screen count as well.
const MARGIN = "200px";

export class Sight {
  /** `rows` have a node. `appeared` is called when rows that were off the screen come into it. */
  constructor(rows, appeared) {
    const owners = new Map(rows.map((one) => [one.node, one]));
    this.rows = new Set();
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) this.rows.add(owners.get(target));
        else this.rows.delete(owners.get(target));
      }
      if (entries.some((one) => one.isIntersecting)) appeared();
    }, { rootMargin: MARGIN });
    rows.forEach((one) => observer.observe(one.node));
  }
}
