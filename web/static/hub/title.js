/* The tab's title: "(3) Inbox · Hub". */

let base = document.title;
let unread = Number(document.body.dataset.unread ?? 0);
let news = 0; // said in the room of this page while nobody looked

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

function show() {
  const count = unread + news;
  document.title = count > 0 ? `(${count > 99 ? "99+" : count}) ${base}` : base;
}

show();
