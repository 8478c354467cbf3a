/* The tab's title: "(3) Inbox · Hub". */

let base = document.title;
let unread = 0; // a page without a bell, such as the wall display, has no number to keep right

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
