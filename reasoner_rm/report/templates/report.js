"use strict";
// The filter of the rollouts; without scripts everything is shown.
const filters = document.querySelector("#rollouts .filters");
const groups = [...document.querySelectorAll("details.group")];
const wasOpen = new Map(groups.map((group) => [group, group.open]));

function show(kind) {
  for (const button of filters.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.filter === kind));
  }
  for (const group of groups) {
    group.hidden = kind !== "" && !group.classList.contains(kind);
    group.open = kind === "" ? wasOpen.get(group) : true;
    for (const completion of group.querySelectorAll(".completion")) {
      completion.hidden = kind !== "" && !completion.classList.contains(kind);
    }
  }
}

if (filters) {
  filters.hidden = false;
  filters.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) show(button.dataset.filter);
  });
}
