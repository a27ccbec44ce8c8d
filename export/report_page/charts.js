/** An element with properties and children. @returns {HTMLElement} */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-")) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** @returns {SVGElement} */
function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const CHART = { width: 520, height: 180, side: 8, top: 20, bottom: 22 };

/** A drawing that fills its place, with texts in its corners, which do not stretch with it. */
function chart(label, shapes, corners) {
  const { width, height } = CHART;
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  picture.append(...shapes);
  const texts = Object.entries(corners).map(([place, text]) => element("span", { className: `corner ${place}` }, text));
  return element("div", { className: "chart" }, picture, ...texts);
}

/** Reference and clip around the worst 20 ms, and their difference, enlarged by a power of ten. */
function waveform(worst, rate) {
  const { width, height, side, top, bottom } = CHART;
  const largest = (values) => Math.max(1e-9, ...values.map(Math.abs));
  const error = worst.samples.map((value, index) => value - worst.reference[index]);
  const peak = Math.max(largest(worst.reference), largest(worst.samples));
  const enlarged = 10 ** Math.max(0, Math.floor(Math.log10(peak / largest(error))));
  const x = (index) => side + (index / (worst.samples.length - 1)) * (width - 2 * side);
  const y = (value) => top + (1 - value / peak) * 0.5 * (height - top - bottom);
  const path = (values) => values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const shapes = [
    drawn("line", { class: "axis", x1: side, x2: width - side, y1: y(0), y2: y(0) }),
    drawn("path", { class: "reference", d: path(worst.reference) }),
    drawn("path", { class: "samples", d: path(worst.samples) }),
    drawn("path", { class: "error", d: path(error.map((value) => value * enlarged)) }),
  ];
  return chart("Waveforms at the largest error", shapes, {
    "top-left": `±${peak.toPrecision(2)}`,
    "top-right": enlarged > 1 ? `error × ${enlarged}` : "error",
    "bottom-left": `${(worst.start / rate).toFixed(3)} s`,
    "bottom-right": `${((worst.start + worst.samples.length) / rate).toFixed(3)} s`,
  });
}

/** How many samples err by how much, counts on a logarithmic scale. */
function histogram(found) {
  const { width, height, side, top, bottom } = CHART;
  const most = Math.max(...found.counts);
  const step = (width - 2 * side) / found.counts.length;
  const shapes = [];
  found.counts.forEach((count, index) => {
    if (!count) return;
    const tall = (Math.log10(1 + count) / Math.log10(1 + most)) * (height - top - bottom);
    shapes.push(drawn("rect", { x: side + index * step + 0.5, y: height - bottom - tall, width: step - 1, height: tall }));
  });
  const edge = found.largest.toPrecision(2);
  return chart("Histogram of errors", shapes, {
    "top-left": `most: ${most.toLocaleString("en")} samples, logarithmic`,
    "bottom-left": `−${edge}`,
    "bottom-middle": "0",
    "bottom-right": `+${edge}`,
  });
}

/** A colour scale with its ends. */
function scale(kind) {
  const bar = element("i");
  bar.style.background = `linear-gradient(to right, ${kind.colours.join(", ")})`;
  const [low, high] = kind.limits;
  return element("div", { className: "scale" }, `${low} dB`, bar, `${high > 0 ? "+" : ""}${high} dB`);
}

/** A picture over time with a cursor; a click seeks. */
class Spectrogram {
  constructor(onSeek) {
    this.image = element("img", { alt: "" });
    this.cursor = element("div", { className: "cursor" });
    this.none = element("div", { className: "none" });
    this.high = element("span", { className: "hz" });
    this.low = element("span", { className: "hz" }, "0 kHz");
    this.high.style.top = "6px";
    this.low.style.bottom = "6px";
    this.element = element("div", { className: "picture" }, this.image, this.high, this.low, this.cursor, this.none);
    this.element.addEventListener("click", (event) => {
      const box = this.element.getBoundingClientRect();
      onSeek((event.clientX - box.left) / box.width);
    });
  }

  show(picture, alt, rate, otherwise = "") {
    this.image.hidden = this.low.hidden = this.high.hidden = this.cursor.hidden = !picture;
    this.none.hidden = Boolean(picture);
    this.none.style.display = picture ? "none" : "";
    this.none.textContent = otherwise;
    if (picture) this.image.src = `data:image/png;base64,${picture}`;
    this.image.alt = alt;
    this.high.textContent = `${(rate / 2000).toFixed(1)} kHz`;
  }

  /** @param {number} share of the duration */
  point(share) { this.cursor.style.left = `calc(${(100 * share).toFixed(2)}% - 1px)`; }
}
