"use strict";
// The filter buttons of the rollouts; without scripts all rollouts are shown.
const filters = document.querySelector("#rollouts .filters");
const groups = [...document.querySelectorAll("details.group")];
const wasOpen = new Map(groups.map((group) => [group, group.open]));

function applyFilter(flag) {
  for (const button of filters.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.filter === flag));
  }
  for (const group of groups) {
    group.hidden = flag !== "" && !group.classList.contains(flag);
    group.open = flag === "" ? wasOpen.get(group) : true;
    for (const completion of group.querySelectorAll(".completion")) {
      completion.hidden = flag !== "" && !completion.classList.contains(flag);
    }
  }
}

if (filters) {
  filters.hidden = false;
  filters.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) applyFilter(button.dataset.filter);
  });
}
