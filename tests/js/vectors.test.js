import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { afterClose, codeOfStatus, pause } from "../../web/static/hub/closing.js";
import { parseCursor, writeCursor } from "../../web/static/hub/cursor.js";
import { Delivery } from "../../web/static/hub/delivery.js";

// The Python reference client reads the same files (tests/client/test_reference_client.py).
function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url)));
}

test("a good cursor is read and written back", () => {
  for (const { text, epoch, offsets } of vectors("cursor").good) {
    const cursor = parseCursor(text);
    assert.equal(cursor.epoch, epoch);
    assert.deepEqual(Object.fromEntries(cursor.offsets), offsets);
    assert.equal(writeCursor(cursor.epoch, cursor.offsets), text);
  }
});

test("a bad cursor is none", () => {
  for (const text of [...vectors("cursor").bad, null, undefined, 5]) {
    assert.equal(parseCursor(text), null, String(text));
  }
});

test("every close code has its consequence", () => {
  for (const [code, then] of Object.entries(vectors("closing").codes)) {
    assert.equal(afterClose(Number(code)), then, code);
  }
});

test("every HTTP status stands for a close code", () => {
  for (const [status, code] of Object.entries(vectors("closing").statuses)) {
    assert.equal(codeOfStatus(Number(status)), code, status);
  }
});

test("the back-off grows to twenty seconds and heeds Retry-After", () => {
  for (const { code, n, dice, retry_after, seconds } of vectors("closing").pauses) {
    assert.equal(pause(code, n, dice, retry_after), seconds, `${code}, n=${n}`);
  }
});

for (const { name, cursor, steps, end } of vectors("delivery")) {
  test(name, () => {
    let emitted = [];
    let again = [];
    let lost = [];
    const delivery = new Delivery({
      cursor,
      emit: ({ topic, offset }) => emitted.push([topic, offset]),
      again: ({ topic, offset }) => again.push([topic, offset]),
      lost: ({ topic }) => lost.push(topic),
    });
    for (const step of steps) {
      const whole = take(delivery, step) ?? true;
      assert.deepEqual(emitted, step.emits, JSON.stringify(step));
      assert.equal(whole, step.whole ?? true, JSON.stringify(step));
      assert.deepEqual(again, step.again ?? [], JSON.stringify(step));
      assert.deepEqual(lost, step.lost ?? [], JSON.stringify(step));
      lost = [];
      emitted = [];
      again = [];
    }
    assert.equal(delivery.cursor, end);
  });
}

function take(delivery, { event, welcome, reset, hold, release, covers, forget }) {
  if (event) return delivery.take({ topic: event[0], offset: event[1] });
  if (covers) return delivery.covers(covers);
  if (welcome) delivery.welcome(...welcome);
  if (reset) delivery.reset({ topic: reset[0], offset: reset[1], reason: reset[2] });
  if (hold) delivery.hold(hold);
  if (release) delivery.release(...release);
  if (forget) delivery.forget(forget);
}

test("a topic held too long asks for its snapshot again instead of growing", () => {
  const emitted = [];
  const again = [];
  const delivery = new Delivery({
    cursor: "e1~user.7:0",
    emit: (event) => emitted.push(event),
    again: (reset) => again.push(reset),
  });
  delivery.hold("user.7");
  for (let offset = 1; offset <= 6000; offset += 1) delivery.take({ topic: "user.7", offset });
  delivery.release("user.7", "e1~user.7:100");
  assert.deepEqual(emitted, []);
  assert.deepEqual(again, [{ topic: "user.7", offset: 6000, reason: "expired" }]);
});
