// Terms of a sum as cards: each a button with a small drawing and two bars. Names and numbers are only ever set as text
// or attributes; a drawing is read as XML, in which a name can be no element of the page.

const SVG = "http://www.w3.org/2000/svg";

function made(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

function drawing(text) {
  const root = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  const drawn = root.namespaceURI === SVG && root.localName === "svg" && !root.querySelector("parsererror");
  return drawn ? document.importNode(root, true) : "";
}

// A bar from the middle: to the right above zero, to the left below.
function bar({ label, told, length }) {
  const fill = made("span", length < 0 ? "tn-fill tn-below" : "tn-fill");
  fill.style.width = `${50 * Math.min(1, Math.abs(length))}%`;
  return made("span", "tn-bar", made("span", "tn-label", label), made("span", "tn-track", fill), made("span", "tn-number", told));
}

class Cards {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    el.classList.add("tn-ledger");
    el.setAttribute("role", "group");
    this.acts = { "change:cards": () => this.draw(), "change:rest": () => this.draw(), "change:selected": () => this.paint() };
    for (const [name, act] of Object.entries(this.acts)) model.on(name, act);
    this.draw();
  }

  destroy() {
    for (const [name, act] of Object.entries(this.acts)) this.model.off(name, act);
  }

  draw() {
    this.el.setAttribute("aria-label", this.model.get("aria"));
    const terms = [made("span", "tn-whole", "logits =")];
    this.model.get("cards").forEach((card, k) => {
      terms.push(made("span", "tn-term", made("span", "tn-sign", k ? "+" : ""), this.card(card)));
    });
    const rest = this.model.get("rest");
    if (rest) terms.push(made("span", "tn-term", made("span", "tn-sign", "+"), made("span", "tn-rest", rest)));
    this.el.replaceChildren(...terms);
    this.paint();
  }

  card({ name, aria, svg, bars }) {
    const picture = made("span", "tn-picture", drawing(svg));
    picture.setAttribute("aria-hidden", "true");
    const button = made("button", "tn-path", made("span", "tn-name", name), picture, ...bars.map(bar));
    button.type = "button";
    button.dataset.name = name;
    button.setAttribute("data-lm-suppress-shortcuts", "true"); // else JupyterLab takes letters for its cells
    button.setAttribute("aria-label", aria);
    button.addEventListener("click", () => {
      this.model.set("selected", name);
      this.model.save_changes();
    });
    return button;
  }

  paint() {
    for (const button of this.el.querySelectorAll(".tn-path")) {
      button.setAttribute("aria-pressed", String(button.dataset.name === this.model.get("selected")));
    }
  }
}

function render({ model, el }) {
  const cards = new Cards(model, el);
  return () => cards.destroy();
}

export default { render };
