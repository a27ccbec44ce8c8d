/** Probability of at least so many right answers by guessing: the sum of C(n, k) / 2^n from k = right to n. */
function guessing(right, trials) {
  let term = 0.5 ** trials;
  let sum = 0;
  for (let k = 0; k <= trials; k += 1) {
    if (k >= right) sum += term;
    term *= (trials - k) / (k + 1);
  }
  return Math.min(1, sum);
}

/** Random numbers in [0, 1): the browser's best, or repeatable ones from a seed (Mulberry32), for tests. */
function randomness(seed) {
  if (seed === null) return () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A blind ABX test: is X the same clip as A, or as B? */
class BlindTest {
  /** @param {HTMLElement} root @param {object} data the page's @param {Player} player its own @param {number|null} seed */
  constructor(root, data, player, seed) {
    this.root = root;
    this.data = data;
    this.player = player;
    this.random = randomness(seed);
    this.answers = [];
    this.settings = null;
    this.x = null;
    this.heard = "A";
    this.askSettings();
  }

  get labels() { return this.data.utterances[0].clips.map((clip) => clip.label); }

  askSettings() {
    const choice = (label, chosen) => {
      const select = element("select", { name: label });
      this.labels.forEach((name) => select.append(element("option", { value: name, selected: name === chosen }, name)));
      return element("label", {}, label, select);
    };
    const reference = this.data.utterances[0].reference;
    const others = this.labels.filter((label) => label !== reference);
    const trials = element("input", { type: "number", min: 5, max: 50, value: 10, name: "trials" });
    const start = element("button", { className: "primary", onclick: () => this.start(fields) }, "Start");
    const row = element("div", { className: "row" }, choice("A", reference), choice("B", others[others.length - 1]),
      element("label", {}, "Trials", trials), start);
    const fields = row;
    this.root.replaceChildren(
      element("p", {}, "X is secretly A or B. Switch between the three while they play, then choose which one X is. Guessing gets half of them right."),
      row,
    );
  }

  async start(fields) {
    const value = (name) => fields.querySelector(`[name="${name}"]`).value;
    const trials = Math.min(50, Math.max(5, Math.round(Number(value("trials")) || 10)));
    this.settings = { a: value("A"), b: value("B"), trials };
    this.answers = [];
    if (this.settings.a === this.settings.b) {
      fields.append(element("span", { role: "alert" }, "A and B must differ."));
      return;
    }
    await this.next();
  }

  async next() {
    const { a, b, trials } = this.settings;
    const utterance = this.data.utterances[Math.floor(this.random() * this.data.utterances.length)];
    this.utterance = utterance;
    this.x = this.random() < 0.5 ? "A" : "B";
    const audio = (label) => utterance.clips.find((clip) => clip.label === label).audio;
    this.switches = ["A", "B", "X"].map((name) =>
      element("button", { onclick: () => this.hear(name), "aria-pressed": "false" }, name));
    const guesses = ["A", "B"].map((name) =>
      element("button", { className: "primary", onclick: () => this.answer(name), name: `x-is-${name}` }, `X is ${name}`));
    this.root.replaceChildren(
      element("p", {}, `Trial ${this.answers.length + 1} of ${trials}`),
      element("div", { className: "row" }, ...this.switches,
        element("button", { onclick: () => this.player.pause() }, "Pause")),
      element("div", { className: "row" }, ...guesses),
    );
    await this.player.load([audio(a), audio(b), audio(this.x === "A" ? a : b)], utterance.rate);
    this.player.setLoop(true);
    this.startedAt = Date.now();
    this.switches[0].focus();
  }

  async hear(name) {
    this.heard = name;
    const index = ["A", "B", "X"].indexOf(name);
    this.switches.forEach((button, each) => button.setAttribute("aria-pressed", String(each === index)));
    this.player.hear(index);
    await this.player.play();
  }

  async answer(name) {
    this.player.stop();
    this.answers.push({
      utterance: this.utterance.name, x: this.x, answer: name, right: name === this.x,
      seconds: Math.round((Date.now() - this.startedAt) / 100) / 10,
    });
    if (this.answers.length < this.settings.trials) await this.next();
    else this.showResult();
  }

  get result() {
    const right = this.answers.filter((answer) => answer.right).length;
    return { page: this.data.title, ...this.settings, right, p_value: guessing(right, this.answers.length), answers: this.answers };
  }

  showResult() {
    const { a, b, trials, right, p_value: p } = this.result;
    const heard = p < 0.05;
    const sentence = heard
      ? `${a} and ${b} can be told apart: guessing would do as well in ${(100 * p).toPrecision(2)}% of tests.`
      : `No difference was shown: guessing would do as well in ${(100 * p).toPrecision(2)}% of tests.`;
    this.file = new Blob([`${JSON.stringify(this.result, null, 2)}\n`], { type: "application/json" });
    const link = element("a", { href: URL.createObjectURL(this.file), download: "abx.json" });
    this.root.replaceChildren(
      element("p", { className: "result", role: "status" }, `${right} of ${trials} right, p = ${p.toPrecision(3)}`),
      element("p", {}, sentence),
      element("div", { className: "row" },
        element("button", { className: "primary", onclick: () => link.click() }, "Download the answers"),
        element("button", { onclick: () => this.askSettings() }, "Another test")),
    );
    this.download = link;
  }
}
