// A table whose cells are buttons. Words are only ever set as text or attributes.

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function made(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

function head(scope, { label, note, title }) {
  const cell = made("th", "", label);
  if (note) cell.append(made("span", "tn-note", note));
  if (title) cell.title = title;
  cell.scope = scope;
  return cell;
}

class Cells {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    el.classList.add("tn-cells");
    el.setAttribute("data-lm-suppress-shortcuts", "true"); // else JupyterLab takes Enter on a button for the cell
    this.draw = this.draw.bind(this);
    this.paint = this.paint.bind(this);
    this.changes = ["caption", "corner", "groups", "columns", "rows", "cells"].map((name) => `change:${name}`).join(" ");
    model.on(this.changes, this.draw);
    model.on("change:selected", this.paint);
    el.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  destroy() {
    this.model.off(this.changes, this.draw);
    this.model.off("change:selected", this.paint);
  }

  draw() {
    const held = this.el.contains(document.activeElement) ? document.activeElement.dataset : null;
    const table = made("table", "", made("caption", "", this.model.get("caption")), this.heads(), this.body());
    this.el.replaceChildren(table);
    this.paint();
    if (held) this.cell(+held.row, +held.column)?.focus();
  }

  heads() {
    const groups = this.model.get("groups");
    const corner = head("col", { label: this.model.get("corner") });
    corner.rowSpan = groups.length ? 2 : 1;
    const first = made("tr", "", corner);
    const second = made("tr", "");
    for (const { label, span } of groups) {
      const cell = head("colgroup", { label });
      cell.colSpan = span;
      cell.className = "tn-group";
      first.append(cell);
    }
    (groups.length ? second : first).append(...this.model.get("columns").map((column) => head("col", column)));
    return made("thead", "", first, ...(groups.length ? [second] : []));
  }

  body() {
    const cells = this.model.get("cells");
    return made("tbody", "", ...this.model.get("rows").map((row, r) => {
      const line = made("tr", row.faint ? "tn-faint" : "", head("row", row));
      line.append(...(cells[r] ?? []).map((cell, c) => made("td", "", this.button(cell, r, c))));
      return line;
    }));
  }

  button({ text, title, share }, row, column) {
    const button = made("button", "", text);
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-label", title);
    button.dataset.row = row;
    button.dataset.column = column;
    if (share !== undefined) button.style.setProperty("--tn-share", `${100 * share}%`);
    button.addEventListener("click", () => {
      this.model.set("activated_cell", [row, column]);
      this.model.set("activated", this.model.get("activated") + 1);
      this.model.save_changes();
    });
    return button;
  }

  cell(row, column) {
    return this.el.querySelector(`button[data-row="${row}"][data-column="${column}"]`);
  }

  // The marked cell is the one that Tab comes to; the first where none is marked.
  paint() {
    const [row, column] = this.model.get("selected");
    const buttons = [...this.el.querySelectorAll("button")];
    const marked = row === undefined ? null : this.cell(row, column);
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button === marked));
      button.tabIndex = button === (marked ?? buttons[0]) ? 0 : -1;
    }
  }

  key(event) {
    const step = ARROWS[event.key];
    const { row, column } = event.target.dataset;
    if (!step || row === undefined) return;
    this.cell(+row + step[0], +column + step[1])?.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

export default {
  render({ model, el }) {
    const cells = new Cells(model, el);
    return () => cells.destroy();
  },
};
