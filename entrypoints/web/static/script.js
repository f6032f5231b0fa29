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
  const focused = document.activeElement;
  area.select();
  document.execCommand("copy");
  area.remove();
  focused?.focus();
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

// One box that checks all boxes of a name in its form.
for (const all of document.querySelectorAll("[data-select-all]")) {
  const boxes = Array.from(all.form.querySelectorAll(`input[type=checkbox][name="${all.dataset.selectAll}"]`));
  const follow = () => {
    const checked = boxes.filter((box) => box.checked).length;
    all.checked = checked > 0 && checked === boxes.length;
    all.indeterminate = checked > 0 && checked < boxes.length;
  };
  all.hidden = boxes.length === 0;
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
  boxes.forEach((box) => box.addEventListener("change", follow));
  follow();
}
