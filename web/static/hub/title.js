/* The tab's title: "(3) Inbox · Hub". */

let base = document.title;
let unread = Number(document.body.dataset.unread ?? 0);

export function setTitle(text) {
  base = `${text} · Hub`;
  show();
}

export function setUnread(count) {
  unread = count;
  show();
}

function show() {
  document.title = unread > 0 ? `(${unread > 99 ? "99+" : unread}) ${base}` : base;
}

show();
