/* In the admin: a button that copies the field it names in `data-copies`. */

for (const button of document.querySelectorAll("[data-copies]")) {
  const field = document.getElementById(button.dataset.copies);
  button.hidden = false;
  field.addEventListener("focus", () => field.select());
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = button.dataset.copied;
    } catch {
      field.select(); // no permission, or a page without https: the keyboard can
      button.textContent = button.dataset.selected;
    }
  });
}
