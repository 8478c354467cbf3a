import { hub } from "../client.js";
import { isOurs, onSnapshot } from "../snapshot.js";
import uPlot from "../vendor/uPlot/uPlot.js";
import { clock } from "../when.js";

const MINUTES = 60;
const TICK = 5000; // ms between looks at whether a minute has passed

/** Events per minute over the last hour, live. Colours come from the element's own style. */
class HubChart extends HTMLElement {
  #counts = new Map(); // minute since 1970 -> events
  #skew = 0; // minutes that the hub's clock is ahead of ours
  #plot;
  #resize;
  #offs = [];
  #timer;
  #drawing = false;
  #scheme = matchMedia("(prefers-color-scheme: dark)");
  #repaint = () => {
    this.#destroy();
    this.#draw();
  };

  connectedCallback() {
    this.#load(JSON.parse(document.querySelector("#snapshot").textContent).per_minute);
    this.#offs = [
      hub.on("event", ({ topic, at }) => {
        if (!isOurs(topic)) return;
        const minute = Math.floor(Date.parse(at) / 60_000);
        this.#counts.set(minute, (this.#counts.get(minute) ?? 0) + 1);
        this.#drawSoon();
      }),
      onSnapshot(({ per_minute }) => {
        this.#load(per_minute);
        this.#drawSoon();
      }),
    ];
    this.#timer = setInterval(() => this.#drawSoon(), TICK);
    this.#resize = new ResizeObserver(() => this.#fit());
    this.#resize.observe(this);
    this.#scheme.addEventListener("change", this.#repaint);
    this.#draw();
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
    this.#resize.disconnect();
    this.#scheme.removeEventListener("change", this.#repaint);
    this.#destroy();
  }

  #load(perMinute) {
    this.#counts = new Map(
      perMinute.map(({ at, count }) => [Math.floor(Date.parse(at) / 60_000), count]),
    );
    const last = Math.max(...this.#counts.keys());
    this.#skew = last - Math.floor(Date.now() / 60_000);
  }

  #data() {
    const last = Math.floor(Date.now() / 60_000) + this.#skew;
    for (const minute of this.#counts.keys())
      if (minute <= last - MINUTES) this.#counts.delete(minute);
    const minutes = Array.from({ length: MINUTES }, (_, at) => last - MINUTES + 1 + at);
    const counts = minutes.map((minute) => this.#counts.get(minute) ?? 0);
    // A step reaches to the next point, so the present minute needs one after it.
    return [[...minutes, last + 1].map((minute) => minute * 60), [...counts, counts.at(-1)]];
  }

  #drawSoon() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.isConnected) this.#draw();
    });
  }

  #draw() {
    const data = this.#data();
    const sum = data[1].slice(0, -1).reduce((total, count) => total + count, 0);
    this.closest("section").querySelector('[data-slot="sum"]').textContent = sum;
    if (this.#plot) this.#plot.setData(data);
    else this.#plot = new uPlot(this.#options(), data, this.querySelector(".chart"));
  }

  #destroy() {
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  #size() {
    const { clientWidth, clientHeight } = this.querySelector(".chart");
    return { width: Math.max(clientWidth, 100), height: Math.max(clientHeight, 60) };
  }

  #fit() {
    this.#plot?.setSize(this.#size());
  }

  #options() {
    const style = getComputedStyle(this);
    const small = parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.8;
    const font = `${Math.round(small)}px ${style.fontFamily}`;
    const axis = { stroke: style.caretColor, font, ticks: { show: false } };
    const line = { show: true, stroke: style.borderTopColor, width: 1 };
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 24, 0, 0],
      scales: { y: { range: (_plot, _low, high) => [0, Math.max(5, Math.ceil(high * 1.15))] } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          space: 70,
          size: 24,
          values: (_plot, ticks) => ticks.map((at) => clock(new Date(at * 1000))),
        },
        {
          ...axis,
          grid: line,
          space: 34,
          size: 40,
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000],
        },
      ],
      series: [
        {},
        {
          stroke: style.color,
          fill: style.outlineColor,
          width: 1.75,
          points: { show: false },
          paths: uPlot.paths.stepped({ align: 1 }),
        },
      ],
    };
  }
}

customElements.define("hub-chart", HubChart);
