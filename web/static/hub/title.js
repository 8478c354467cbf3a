/* The tab's title: "(3) Inbox · Hub". */

let base = document.title;
let unread = 0; // a page without a bell, such as the wall display, has no number to keep right
let news = 0; // said in the room of this page while nobody looked
let direct = 0; // said to me in other rooms

export function setTitle(text) {
  base = `${text} · Hub`;
  show();
}

export function setUnread(count) {
  unread = count;
  show();
}

export function setNews(count) {
  news = count;
  show();
}

export function setDirect(count) {
  direct = count;
  show();
}

function show() {
  const count = unread + news + direct;
  document.title = count > 0 ? `(${count > 99 ? "99+" : count}) ${base}` : base;
}
