/** Takes `text/event-stream` apart as it comes; calls `block({event, data, id})` for each block or comment. */
export class EventStream {
  #rest = "";
  #fields = {};
  #block;

  constructor(block) {
    this.#block = block;
  }

  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      const fields = this.#fields;
      this.#fields = {};
      if (Object.keys(fields).length) this.#block(fields);
      return;
    }
    const at = line.indexOf(":");
    if (at === 0) return;
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    const before = this.#fields[name];
    this.#fields[name] = name === "data" && before !== undefined ? `${before}\n${value}` : value;
  }
}
