// A drawn scene under the hand: point, pick, drag, zoom, and the same by keys. Names and titles are only ever set as
// text or attributes; the drawing itself is read as XML, in which a name can be no element of the page.

const SVG = "http://www.w3.org/2000/svg";
const HELP = "Arrow keys pick, Enter uses, + and − zoom, r resets.";
const FRAMES = ["bubble", "sum"]; // these hold other marks, and stay where they are
const NEAR = 1.5; // pixels from a mark's edge at which a wire still ends on it
const LONGEST_CLICK = 4; // pixels that a hand may slip in a click

const inside = (box, [x, y], by) =>
  x >= box.x - by && x <= box.x + box.width + by && y >= box.y - by && y <= box.y + box.height + by;
const onEdge = (box, point) => inside(box, point, NEAR) && !inside(box, point, -NEAR);
const middle = (box) => [box.x + box.width / 2, box.y + box.height / 2];
const plus = ([x, y], [dx, dy]) => [x + dx, y + dy];
const half = (shift) => shift.map((value) => value / 2);

// The points of a path of the letters M, L and C, piece by piece.
function pieces(d) {
  return [...d.matchAll(/([MLC])([^MLC]*)/g)].map(([, letter, rest]) => {
    const values = rest.trim().split(/[\s,]+/).map(Number);
    const points = [];
    for (let k = 0; k < values.length; k += 2) points.push([values[k], values[k + 1]]);
    return { letter, points };
  });
}

const written = (path) => path.map(({ letter, points }) => letter + points.map((p) => p.join(" ")).join(" ")).join("");

// The path with each end and the control point beside it moved; what lies between moves by half of both.
function bent(path, first, last) {
  const between = plus(half(first), half(last));
  return path.map(({ letter, points }, k) => ({
    letter,
    points: points.map((point, j) => {
      const atStart = k === 0 || (k === 1 && letter === "C" && j === 0);
      const atEnd = k === path.length - 1 && k > 0 && j >= points.length - (letter === "C" ? 2 : 1);
      return plus(point, atStart ? first : atEnd ? last : between);
    }),
  }));
}

// The point at share t of piece k of a path.
function pointOn(path, k, t) {
  const [x0, y0] = path[k - 1].points.at(-1);
  const { letter, points } = path[k];
  if (letter === "L") return [x0 + t * (points[0][0] - x0), y0 + t * (points[0][1] - y0)];
  const weights = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t ** 3];
  const all = [[x0, y0], ...points];
  return [0, 1].map((axis) => all.reduce((sum, point, j) => sum + weights[j] * point[axis], 0));
}

// A mark's box from its shape's own numbers: the page measures nothing before it shows the drawing.
function boxOf(shape) {
  const number = (name) => Number(shape.getAttribute(name));
  if (shape.localName === "rect") return { x: number("x"), y: number("y"), width: number("width"), height: number("height") };
  if (shape.localName === "circle") {
    const r = number("r");
    return { x: number("cx") - r, y: number("cy") - r, width: 2 * r, height: 2 * r };
  }
  const points = shape.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number));
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

// The drawing's parts: marks with their boxes, wires with the marks at their ends, texts with what carries them.
function read(svg) {
  const marks = [...svg.querySelectorAll(".tn-mark")].map((node) => {
    const box = boxOf(node.firstElementChild);
    return { node, box, kind: "mark", name: node.dataset.name, frame: FRAMES.includes(node.dataset.kind), at: middle(box) };
  });
  const free = marks.filter((mark) => !mark.frame);
  const frames = marks.filter((mark) => mark.frame);
  const owner = (point) => free.find((mark) => inside(mark.box, point, NEAR));
  const wires = [...svg.querySelectorAll(".tn-wire")].map((node) => {
    const path = pieces(node.getAttribute("d"));
    const points = [path[0].points[0], path.at(-1).points.at(-1)];
    const ends = points.map((point) => owner(point) ?? (frames.some((f) => onEdge(f.box, point)) ? "frame" : null));
    const at = pointOn(path, Math.ceil((path.length - 1) / 2), 0.5);
    return { node, path, ends, kind: "wire", name: node.dataset.name, at, width: Number(node.getAttribute("stroke-width")) };
  });
  const texts = [...svg.querySelectorAll(".tn-text")].map((node) => {
    const size = Number(node.getAttribute("font-size"));
    const at = [Number(node.getAttribute("x")), Number(node.getAttribute("y")) - 0.35 * size];
    const mark = node.dataset.role === "node" ? owner(at) : undefined;
    return { node, mark, along: mark || node.dataset.role !== "leg" ? null : nearest(wires, at) };
  });
  return { marks, wires, texts };
}

// The wire nearest to a label, and where on it the nearest point is.
function nearest(wires, [x, y]) {
  let best = null;
  for (const wire of wires) {
    for (let k = 1; k < wire.path.length; k++) {
      for (let t = 0; t <= 1; t += 0.125) {
        const point = pointOn(wire.path, k, t);
        const distance = Math.hypot(point[0] - x, point[1] - y);
        if (!best || distance < best.distance) best = { wire, k, t, distance, point };
      }
    }
  }
  return best && best.distance < 40 ? best : null;
}

// Reading order: by lines from the left, or by columns from the top; all marks, then all wires.
function ordered({ marks, wires }, byColumn) {
  const line = ([x, y]) => Math.round((byColumn ? x : y) / 12);
  const place = ([x, y]) => (byColumn ? y : x);
  const sorted = (items) => [...items].sort((a, b) => line(a.at) - line(b.at) || place(a.at) - place(b.at));
  return [...sorted(marks), ...sorted(wires)];
}

class View {
  constructor(model, el) {
    this.model = model;
    this.off = [];
    this.zoom = { x: 0, y: 0, k: 1 };
    el.classList.add("tn-view");
    this.sheet = document.createElement("div");
    this.sheet.className = "tn-sheet";
    this.sheet.tabIndex = 0;
    this.sheet.setAttribute("role", "application");
    this.sheet.setAttribute("aria-roledescription", "diagram");
    this.sheet.setAttribute("data-lm-suppress-shortcuts", "true"); // else JupyterLab takes r and the arrows for cells
    this.told = document.createElement("div");
    this.told.className = "tn-told";
    this.told.setAttribute("aria-live", "polite");
    el.append(this.sheet, this.told);
    this.listen();
    this.label();
    this.draw();
  }

  listen() {
    const on = (name, act) => {
      this.model.on(name, act);
      this.off.push(() => this.model.off(name, act));
    };
    on("change:svg", () => this.draw());
    on("change:aria", () => this.label());
    for (const name of ["selected", "selected_kind", "highlight", "dimmed"]) on(`change:${name}`, () => this.paint());
    on("change:shifts", () => {
      if (!this.hand) this.place();
    });
    const hear = (name, act, options) => this.sheet.addEventListener(name, act, options);
    hear("pointerover", (event) => this.hover(this.item(event.target)));
    hear("pointerleave", () => this.hover(null));
    hear("pointerdown", (event) => this.press(event));
    hear("pointermove", (event) => this.drag(event));
    hear("pointerup", (event) => this.release(event));
    hear("pointercancel", () => (this.hand = null));
    hear("dblclick", () => this.reset());
    hear("wheel", (event) => this.wheel(event), { passive: false });
    hear("keydown", (event) => this.key(event));
    hear("focus", () => this.tell());
    hear("blur", () => this.tell());
  }

  destroy() {
    this.off.forEach((act) => act());
  }

  label() {
    this.sheet.setAttribute("aria-label", this.model.get("aria"));
  }

  draw() {
    this.hovered = this.hand = null;
    const root = new DOMParser().parseFromString(this.model.get("svg"), "image/svg+xml").documentElement;
    const drawn = root.namespaceURI === SVG && root.localName === "svg" && !root.querySelector("parsererror");
    if (!drawn) {
      this.svg = null;
      this.parts = { marks: [], wires: [], texts: [] };
      this.sheet.replaceChildren();
      this.told.textContent = this.model.get("svg") ? "The drawing cannot be read." : "";
      return;
    }
    this.svg = document.importNode(root, true);
    this.sheet.replaceChildren(this.svg);
    const { width, height } = this.svg.viewBox.baseVal;
    this.whole = { left: 0, top: 0, right: width, bottom: height };
    this.frame = this.whole;
    this.parts = read(this.svg);
    this.halo = document.createElementNS(SVG, "g");
    this.halo.setAttribute("class", "tn-halo");
    const reach = document.createElementNS(SVG, "g"); // wires are thin: a wider one, unseen, is under the pointer
    reach.setAttribute("class", "tn-reach");
    for (const wire of this.parts.wires) {
      wire.reach = document.createElementNS(SVG, "path");
      reach.append(wire.reach);
    }
    const first = this.svg.querySelector(".tn-wire, .tn-mark:not([data-kind=bubble]):not([data-kind=sum])");
    this.svg.insertBefore(reach, first);
    this.svg.append(this.halo);
    this.place();
  }

  // Marks, the ends of their wires, and labels, where they have been dragged to.
  place() {
    if (!this.svg) return;
    const shifts = this.model.get("shifts");
    const of = (mark) => (mark && mark !== "frame" && shifts[mark.name]) || [0, 0];
    const move = (node, [dx, dy]) => node.setAttribute("transform", `translate(${dx} ${dy})`);
    for (const mark of this.parts.marks) {
      mark.shift = mark.frame ? [0, 0] : of(mark);
      move(mark.node, mark.shift);
    }
    for (const wire of this.parts.wires) {
      const [start, end] = wire.ends; // a free end goes with the other one
      wire.now = bent(wire.path, of(start ?? end), of(end ?? start));
      const d = written(wire.now);
      wire.node.setAttribute("d", d);
      wire.reach.setAttribute("d", d);
    }
    for (const { node, mark, along } of this.parts.texts) {
      if (mark) move(node, mark.shift);
      if (!along) continue;
      const [x, y] = pointOn(along.wire.now, along.k, along.t);
      move(node, [x - along.point[0], y - along.point[1]]);
    }
    this.fit();
    this.paint();
  }

  // Makes room for marks dragged over the edge; to the left and above only once they are let go, or the drawing would
  // run away from under the hand.
  fit() {
    const boxes = this.parts.marks.map(({ box, shift: [x, y] }) => [box.x + x, box.y + y, box.x + box.width + x, box.y + box.height + y]);
    const { left, top, right, bottom } = this.whole;
    const reach = (axis, choose, edge, space) => choose(edge, ...boxes.map((box) => box[axis] + space));
    this.frame = {
      left: this.hand ? this.frame.left : reach(0, Math.min, left, -10),
      top: this.hand ? this.frame.top : reach(1, Math.min, top, -10),
      right: reach(2, Math.max, right, 10),
      bottom: reach(3, Math.max, bottom, 10),
    };
    this.svg.setAttribute("width", this.frame.right - this.frame.left);
    this.svg.setAttribute("height", this.frame.bottom - this.frame.top);
    this.pan();
  }

  // Emphasis, and a ring about what is selected.
  paint() {
    if (!this.svg) return;
    const [strong, faint] = [new Set(this.model.get("highlight")), new Set(this.model.get("dimmed"))];
    const { marks, wires, texts } = this.parts;
    for (const item of [...marks, ...wires]) {
      item.node.classList.toggle("tn-strong", strong.has(item.name));
      item.node.classList.toggle("tn-faint", faint.has(item.name));
      if (item.kind === "wire") item.node.setAttribute("stroke-width", item.width + (strong.has(item.name) ? 2.5 : 0));
    }
    for (const { node, mark, along } of texts) {
      const carrier = mark ?? along?.wire;
      node.classList.toggle("tn-faint", Boolean(carrier) && faint.has(carrier.name));
    }
    this.halo.replaceChildren();
    for (const mark of marks) if (strong.has(mark.name)) this.ring(mark, 3, "tn-mark-strong");
    for (const item of this.chosen()) {
      if (item.kind === "mark") this.ring(item, 6, "tn-ring");
      else this.outline(item);
    }
    this.tell();
  }

  ring({ box, shift }, by, name) {
    const rect = document.createElementNS(SVG, "rect");
    const [x, y] = plus([box.x - by, box.y - by], shift);
    const size = { x, y, width: box.width + 2 * by, height: box.height + 2 * by, rx: 8, class: name };
    for (const [key, value] of Object.entries(size)) rect.setAttribute(key, value);
    this.halo.append(rect);
  }

  outline(wire) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", "tn-ring tn-along");
    path.setAttribute("d", wire.node.getAttribute("d"));
    this.halo.append(path);
  }

  // All that is drawn under the selected name: one mark, or every wire of a leg.
  chosen() {
    const [name, kind] = [this.model.get("selected"), this.model.get("selected_kind")];
    const { marks, wires } = this.parts;
    const named = (items) => (name ? items.filter((item) => item.name === name) : []);
    const [first, second] = kind === "wire" ? [wires, marks] : [marks, wires];
    const found = named(first);
    return found.length ? found : named(second);
  }

  tell() {
    if (!this.svg) return;
    const item = this.hovered ?? this.chosen()[0];
    const title = item?.node.querySelector("title")?.textContent || item?.name;
    const text = title ?? (document.activeElement === this.sheet ? HELP : "");
    if (this.told.textContent !== text) this.told.textContent = text;
  }

  item(target) {
    const mark = target.closest?.(".tn-mark");
    const { marks, wires } = this.parts;
    if (mark) return marks.find((item) => item.node === mark) ?? null;
    return wires.find((item) => item.node === target || item.reach === target) ?? null;
  }

  save(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }

  hover(item) {
    if (this.hand) return;
    this.hovered = item;
    this.tell();
    const told = { hovered: item?.name ?? "", hovered_kind: item?.kind ?? "" };
    if (Object.entries(told).some(([name, value]) => this.model.get(name) !== value)) this.save(told);
  }

  select(item) {
    this.save({ selected: item?.name ?? "", selected_kind: item?.kind ?? "" });
  }

  use({ name, kind }, by) {
    const count = this.model.get("activated") + 1;
    this.save({ activated_name: name, activated_kind: kind, activated_by: by, activated: count });
  }

  // Where the pointer is, in the units of the drawing.
  point(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [x, y];
  }

  press(event) {
    if (!this.svg || event.button !== 0) return;
    const item = this.item(event.target);
    const shift = (item && this.model.get("shifts")[item.name]) || [0, 0];
    this.hand = { item, shift, from: this.point(event), at: [event.clientX, event.clientY], zoom: this.zoom, moved: false };
    this.sheet.setPointerCapture(event.pointerId);
  }

  drag(event) {
    if (!this.hand) return;
    const { item, shift, from, at, zoom } = this.hand;
    this.hand.moved ||= Math.hypot(event.clientX - at[0], event.clientY - at[1]) > LONGEST_CLICK;
    if (!this.hand.moved) return;
    if (item?.kind === "mark" && !item.frame) {
      const now = this.point(event);
      const moved = plus(shift, [now[0] - from[0], now[1] - from[1]]);
      this.model.set("shifts", { ...this.model.get("shifts"), [item.name]: moved });
      this.place();
    } else {
      const scale = this.svg.getScreenCTM().a;
      this.zoom = { ...zoom, x: zoom.x - (event.clientX - at[0]) / scale, y: zoom.y - (event.clientY - at[1]) / scale };
      this.pan();
    }
  }

  release(event) {
    const hand = this.hand;
    this.hand = null;
    if (!hand) return;
    this.sheet.releasePointerCapture(event.pointerId);
    if (hand.moved) {
      this.model.save_changes();
      this.place();
      return;
    }
    const again = this.chosen().some(({ name, kind }) => name === hand.item?.name && kind === hand.item.kind);
    this.select(hand.item);
    if (hand.item) this.use(hand.item, again ? "click again" : "click");
  }

  reset() {
    this.zoom = { x: 0, y: 0, k: 1 };
    this.save({ shifts: {} });
    this.place();
  }

  wheel(event) {
    if (!this.svg || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.scale(Math.exp(-event.deltaY / 300), this.point(event));
  }

  // Zooms about a point, which stays where it is.
  scale(factor, about) {
    const k = Math.min(8, Math.max(0.4, this.zoom.k * factor));
    const still = (edge, offset, point) => point - ((point - edge - offset) * this.zoom.k) / k - edge;
    const { left, top } = this.frame;
    this.zoom = { x: still(left, this.zoom.x, about[0]), y: still(top, this.zoom.y, about[1]), k };
    this.pan();
  }

  pan() {
    if (!this.svg) return;
    const { x, y, k } = this.zoom;
    const { left, top, right, bottom } = this.frame;
    this.svg.setAttribute("viewBox", [left + x, top + y, (right - left) / k, (bottom - top) / k].join(" "));
  }

  key(event) {
    if (!this.svg || event.ctrlKey || event.metaKey || event.altKey) return;
    const centre = middle(this.svg.viewBox.baseVal);
    const [chosen] = this.chosen();
    const acts = {
      ArrowRight: () => this.step(1, false),
      ArrowLeft: () => this.step(-1, false),
      ArrowDown: () => this.step(1, true),
      ArrowUp: () => this.step(-1, true),
      Enter: () => chosen && this.use(chosen, "key"),
      " ": () => chosen && this.use(chosen, "key"),
      Escape: () => this.select(null),
      "+": () => this.scale(1.25, centre),
      "=": () => this.scale(1.25, centre),
      "-": () => this.scale(0.8, centre),
      "−": () => this.scale(0.8, centre),
      r: () => this.reset(),
    };
    if (!Object.hasOwn(acts, event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  }

  step(by, byColumn) {
    const order = ordered(this.parts, byColumn);
    if (!order.length) return;
    const [chosen] = this.chosen();
    const here = order.indexOf(chosen);
    let next = here < 0 ? (by > 0 ? 0 : order.length - 1) : here + by;
    while (order[next]?.kind === "wire" && order[next].kind === chosen?.kind && order[next].name === chosen.name) next += by;
    if (!order[next]) return;
    this.hovered = null;
    this.select(order[next]);
    this.show(order[next]);
  }

  // Scrolls the sheet, not the page, to what has just been picked.
  show(item) {
    const [own, frame] = [item.node.getBoundingClientRect(), this.sheet.getBoundingClientRect()];
    if (own.left < frame.left) this.sheet.scrollLeft += own.left - frame.left - 12;
    if (own.right > frame.right) this.sheet.scrollLeft += own.right - frame.right + 12;
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.destroy();
}

export default { render };
