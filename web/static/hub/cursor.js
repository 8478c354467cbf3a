// How far a reader has come: `epoch~topic:offset~topic:offset…`, one text for all its topics.

const EPOCH = /^[A-Za-z0-9_-]{1,64}$/;
const ENTRY = /^([a-z]+\.[A-Za-z0-9_-]{1,100}):(0|[1-9][0-9]{0,15})$/;

/** @returns {{epoch: string, offsets: Map<string, number>} | null} null when it is no cursor */
export function parseCursor(text) {
  if (typeof text !== "string") return null;
  const [epoch, ...entries] = text.split("~");
  if (!EPOCH.test(epoch)) return null;
  const offsets = new Map();
  for (const entry of entries) {
    const match = ENTRY.exec(entry);
    const offset = match ? Number(match[2]) : Number.NaN;
    if (!Number.isSafeInteger(offset) || offsets.has(match[1])) return null;
    offsets.set(match[1], offset);
  }
  return { epoch, offsets };
}

/** Topics in name order, so that equal positions give equal texts. */
export function writeCursor(epoch, offsets) {
  const topics = [...offsets.keys()].sort();
  return [epoch, ...topics.map((topic) => `${topic}:${offsets.get(topic)}`)].join("~");
}
