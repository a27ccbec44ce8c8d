"use strict";

/** Clips of one utterance that play together; only one of them is heard, and switching keeps the position. */
class Player {
  /** @param {(position: number) => void} onTick told of the position while it plays, in seconds */
  constructor(onTick) {
    this.onTick = onTick;
    this.context = null;
    this.buffers = [];
    this.sources = [];
    this.gains = [];
    this.heard = 0;
    this.loop = false;
    this.offset = 0;
    this.startedAt = null;
    this.generation = 0;
  }

  /** Decode clips; what played before stops. @param {string[]} clips FLAC in base64 @param {number} rate in Hz */
  async load(clips, rate) {
    this.stop();
    const generation = ++this.generation;
    if (!this.context || this.context.sampleRate !== rate) {
      if (this.context) await this.context.close();
      // The clips' own rate, so that the browser resamples none of them.
      this.context = new AudioContext({ sampleRate: rate });
    }
    const decoded = await Promise.all(clips.map((clip) => this.context.decodeAudioData(Player.bytes(clip))));
    if (generation !== this.generation) return false;
    this.buffers = decoded;
    this.offset = 0;
    return true;
  }

  get duration() { return this.buffers.length ? this.buffers[0].duration : 0; }
  get playing() { return this.startedAt !== null; }

  /** In seconds. */
  get position() {
    if (!this.playing) return this.offset;
    const passed = this.offset + this.context.currentTime - this.startedAt;
    return this.loop ? passed % this.duration : Math.min(passed, this.duration);
  }

  async play() {
    if (this.playing || !this.buffers.length) return;
    await this.context.resume();
    if (this.offset >= this.duration - 0.01) this.offset = 0;
    const when = this.context.currentTime + 0.02;
    this.gains = this.buffers.map((_, index) => {
      const gain = this.context.createGain();
      gain.gain.value = index === this.heard ? 1 : 0;
      gain.connect(this.context.destination);
      return gain;
    });
    this.sources = this.buffers.map((buffer, index) => {
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.loop = this.loop;
      source.connect(this.gains[index]);
      source.start(when, this.offset);
      return source;
    });
    this.sources[0].onended = () => { this.pause(); this.onTick(this.position); };
    this.startedAt = when;
    this.tick();
  }

  pause() {
    if (!this.playing) return;
    this.offset = Math.max(0, this.position);
    this.halt();
  }

  stop() {
    this.halt();
    this.offset = 0;
  }

  /** @param {number} seconds */
  async seek(seconds) {
    const wasPlaying = this.playing;
    this.halt();
    this.offset = Math.min(Math.max(0, seconds), this.duration);
    if (wasPlaying) await this.play();
    this.onTick(this.position);
  }

  /** Hear another clip from here on. @param {number} index */
  hear(index) {
    if (this.playing) {
      const now = this.context.currentTime;
      this.gains.forEach((gain, each) => {
        gain.gain.cancelScheduledValues(now);
        gain.gain.setValueAtTime(gain.gain.value, now);
        gain.gain.linearRampToValueAtTime(each === index ? 1 : 0, now + 0.01);
      });
    }
    this.heard = index;
  }

  /** @param {boolean} on */
  setLoop(on) {
    const position = this.position;
    this.loop = on;
    if (this.playing) this.seek(position);
  }

  halt() {
    for (const source of this.sources) { source.onended = null; source.stop(); source.disconnect(); }
    for (const gain of this.gains) gain.disconnect();
    this.sources = [];
    this.gains = [];
    this.startedAt = null;
  }

  tick() {
    if (!this.playing) return;
    this.onTick(this.position);
    requestAnimationFrame(() => this.tick());
  }

  static bytes(text) {
    const binary = atob(text);
    return Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer;
  }
}
