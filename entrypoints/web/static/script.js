// Comforts of the page: everything works without this script too.
"use strict";

// Copy buttons. `navigator.clipboard` does not exist on plain HTTP, so the text is selected and copied instead.
function copy(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text);
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  return Promise.resolve();
}

for (const button of document.querySelectorAll("[data-copy], [data-copy-from]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await copy(button.dataset.copy ?? document.getElementById(button.dataset.copyFrom).textContent);
    button.dataset.done = "true";
    setTimeout(() => delete button.dataset.done, 1500);
  });
}
