/** The utterance that is looked at and listened to. */
class Stage {
  constructor(root, data) {
    this.data = data;
    this.root = root;
    this.player = new Player((position) => this.point(position));
    this.heard = 0;
    this.build();
    this.choose(0);
  }

  get utterance() { return this.data.utterances[this.index]; }

  build() {
    const select = element("select", { onchange: () => this.choose(Number(select.value)) });
    this.data.utterances.forEach((each, index) => select.append(element("option", { value: index }, each.name)));
    this.select = select;
    this.playButton = element("button", { className: "play primary", onclick: () => this.toggle() }, "Play");
    this.seekBar = element("input", {
      type: "range", className: "grow", min: 0, max: 1000, value: 0, "aria-label": "Position",
      oninput: () => this.player.seek((this.seekBar.value / 1000) * this.player.duration),
    });
    this.time = element("span", { className: "time" });
    const loop = element("input", { type: "checkbox", onchange: () => this.player.setLoop(loop.checked) });
    this.switches = element("div", { className: "row", role: "group", "aria-label": "Clip to play" });
    this.facts = element("div", { className: "facts", "aria-live": "polite" });
    const seek = (share) => this.player.seek(share * this.player.duration);
    this.spectrogram = new Spectrogram(seek);
    this.difference = new Spectrogram(seek);
    this.difference.element.classList.add("difference");
    this.waveform = element("div");
    this.histogram = element("div");
    this.captions = ["", "", "", ""].map((text) => element("figcaption", {}, text));
    const lines = element("div", { className: "legend" });
    for (const [name, text] of [["reference-line", "reference"], ["accent", "this clip"], ["bad", "error"]]) {
      const mark = element("i");
      mark.style.background = `var(--${name})`;
      lines.append(element("span", {}, mark, text));
    }
    const bodies = [
      [this.spectrogram.element, scale(this.data.scales.spectrogram)],
      [this.difference.element, scale(this.data.scales.difference)],
      [this.waveform, lines],
      [this.histogram],
    ];
    const figures = bodies.map((body, index) => element("figure", {}, this.captions[index], ...body));
    this.root.replaceChildren(
      element("div", { className: "row" }, element("label", {}, "Recording", select)),
      element("div", { className: "row" }, this.playButton, this.seekBar, this.time, element("label", {}, loop, "Loop")),
      this.switches, this.facts, element("div", { className: "grid" }, ...figures),
    );
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {number} index of the utterance */
  async choose(index) {
    this.index = index;
    this.playButton.disabled = true;
    this.playButton.textContent = "Play";
    this.switches.replaceChildren(...this.utterance.clips.map((clip, each) =>
      element("button", { onclick: () => this.hear(each) }, clip.label, element("kbd", { "aria-hidden": "true" }, each < 9 ? String(each + 1) : ""))));
    this.hear(Math.min(this.heard, this.utterance.clips.length - 1));
    const current = await this.player.load(this.utterance.clips.map((clip) => clip.audio), this.utterance.rate);
    if (!current) return;
    this.playButton.disabled = false;
    this.point(0);
  }

  /** @param {number} index of the clip */
  hear(index) {
    this.heard = index;
    this.player.hear(index);
    [...this.switches.children].forEach((button, each) => button.setAttribute("aria-pressed", String(each === index)));
    const { clips, rate, reference, name } = this.utterance;
    const clip = clips[index];
    const own = clip.label === reference;
    this.facts.replaceChildren(...clip.figures.map(([title, text]) => element("span", {}, `${title} `, element("b", {}, text))));
    this.spectrogram.show(clip.spectrogram, `Spectrogram of ${name}, ${clip.label}`, rate);
    this.difference.show(clip.difference, `Spectrogram of ${clip.label} less that of ${reference}`, rate, "This is the reference.");
    this.captions[0].textContent = `Spectrogram: ${clip.label}`;
    this.captions[1].textContent = `Difference from ${reference}: red is louder, blue is softer`;
    this.captions[2].textContent = "Waveform at the largest error, 20 ms";
    this.captions[3].textContent = "Errors of all samples";
    const empty = () => element("div", { className: "picture" }, element("div", { className: "none" }, "This is the reference."));
    this.waveform.replaceChildren(own ? empty() : waveform(clip.worst, rate));
    this.histogram.replaceChildren(own ? empty() : histogram(clip.histogram));
  }

  async toggle() {
    if (this.player.playing) this.player.pause();
    else await this.player.play();
    this.point(this.player.position);
  }

  /** @param {number} position in seconds */
  point(position) {
    const duration = this.player.duration || 1;
    const share = Math.max(0, position) / duration;
    this.seekBar.value = Math.round(1000 * share);
    this.time.textContent = `${Math.max(0, position).toFixed(2)} / ${duration.toFixed(2)} s`;
    this.playButton.textContent = this.player.playing ? "Pause" : "Play";
    this.spectrogram.point(share);
    this.difference.point(share);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, button, #abx")) return;
    const number = Number(event.key);
    if (event.key === " ") { event.preventDefault(); this.toggle(); }
    else if (number >= 1 && number <= this.utterance.clips.length) this.hear(number - 1);
  }
}

const data = JSON.parse(document.getElementById("data").textContent);
if (data.utterances.length) {
  const seed = new URLSearchParams(location.hash.slice(1)).get("abx-seed");
  const stage = new Stage(document.getElementById("stage"), data);
  const blind = new BlindTest(document.getElementById("abx"), data, new Player(() => {}), seed === null ? null : Number(seed));
  window.voirs = { stage, blind, guessing };
}
