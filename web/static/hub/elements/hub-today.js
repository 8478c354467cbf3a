import { hub } from "../client.js";
import { Day } from "../day.js";
import { slot } from "../dom.js";
import { isJobEvent, stateWord } from "../jobview.js";
import { onSnapshot, refreshAll } from "../snapshot.js";
import { clock, hubNow } from "../when.js";
import { fillIn, gettext } from "../words.js";

const STATES = ["succeeded", "cancelled", "lost", "failed"]; // from below
const TICK = 20_000; // ms between looks at whether the day is over
const SPREAD = 30_000; // ms over which the tabs of an office ask for their new day
const SVG = "http://www.w3.org/2000/svg";
const GAP = 2; // px between two bars
const ROOM = 5; // px around a line of figures

/** How jobs ended today, hour by hour, in stacked bars; the legend says it in words. */
class HubToday extends HTMLElement {
  #day; // hours of {succeeded, failed, cancelled, lost}
  #offs = [];
  #timer;
  #resize;

  connectedCallback() {
    this.#load(JSON.parse(document.querySelector("#snapshot").textContent).jobs);
    this.#offs = [
      hub.on("event", ({ topic, type, data, at }) => {
        if (topic === "group.dashboard" && isJobEvent(type) && STATES.includes(data.state))
          this.#ended(data.state, Date.parse(at));
      }),
      onSnapshot(({ jobs }) => {
        this.#load(jobs);
        this.#draw();
      }),
    ];
    this.#timer = setInterval(() => this.#turn(), TICK);
    this.#resize = new ResizeObserver(() => this.#draw());
    this.#resize.observe(slot(this, "chart"));
    this.#draw();
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
    this.#resize.disconnect();
  }

  #load({ today }) {
    this.#day = new Day(today);
  }

  #ended(state, at) {
    this.#turn();
    const hour = this.#day.at(at);
    if (!hour) return;
    hour[state] += 1;
    this.#draw();
  }

  /** A new day begins empty; the hub says exactly when where clocks were changed. */
  #turn() {
    if (!this.#day.turn(hubNow())) return;
    this.#draw();
    setTimeout(refreshAll, Math.random() * SPREAD);
  }

  #draw() {
    const { hours } = this.#day;
    for (const state of STATES) {
      const sum = hours.reduce((total, hour) => total + hour[state], 0);
      const place = slot(this, state);
      if (place.textContent !== String(sum)) place.textContent = sum;
    }
    const chart = slot(this, "chart");
    const { clientWidth: width, clientHeight: height } = chart;
    if (!width || !height) return;
    const most = Math.max(1, ...hours.map((hour) => total(hour)));
    const line = 0.8 * Number.parseFloat(getComputedStyle(chart).fontSize) + ROOM;
    const ground = height - line;
    const scale = (ground - line) / most;
    const step = width / hours.length;
    const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", this.#inWords());
    svg.append(draw("path", { class: "today-ground", d: `M0 ${ground + 0.5}H${width}` }));
    hours.forEach((hour, at) => {
      const x = at * step + GAP / 2;
      if (at % 6 === 0) svg.append(label(clock(this.#day.begins(at)), x, height - ROOM));
      if (total(hour)) svg.append(this.#bar(hour, at, { x, width: step - GAP, ground, scale }));
    });
    const highest = hours.findIndex((hour) => total(hour) === most);
    if (highest >= 0) {
      const place = Math.min(Math.max((highest + 0.5) * step, 10), width - 10);
      svg.append(label(String(most), place, line - ROOM, "middle"));
    }
    chart.replaceChildren(svg);
  }

  #bar(hour, at, { x, width, ground, scale }) {
    const bar = draw("g", {});
    const title = draw("title", {});
    const said = STATES.filter((state) => hour[state]).map(
      (state) => `${stateWord(state)} ${hour[state]}`,
    );
    title.textContent = `${clock(this.#day.begins(at))} · ${said.join(" · ")}`;
    bar.append(title);
    let y = ground;
    for (const state of STATES) {
      if (!hour[state]) continue;
      const height = Math.max(2, hour[state] * scale);
      y -= height;
      bar.append(draw("rect", { class: `today-${state}`, x, y, width, height }));
    }
    return bar;
  }

  #inWords() {
    const said = STATES.map((state) => `${stateWord(state)} ${slot(this, state).textContent}`);
    return fillIn(gettext("Jobs that ended today, by hour: %(counts)s"), {
      counts: said.join(", "),
    });
  }
}

const total = (hour) => STATES.reduce((sum, state) => sum + hour[state], 0);

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function label(text, x, y, anchor = "start") {
  const element = draw("text", { class: "today-label", x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

customElements.define("hub-today", HubToday);
