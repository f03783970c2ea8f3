// The item browser: the evaluated items are JSON in the page; the script filters them and shows one page at a time.
{
  const SIZE = 10;
  const source = document.getElementById("items-data");
  const form = document.getElementById("item-filters");
  const list = document.getElementById("page");
  const { pictures, items } = source ? JSON.parse(source.textContent) : { pictures: [], items: [] };
  const stageNames = source ? JSON.parse(source.dataset.stages) : {};
  let flag = "", page = 0, matches = [];

  function el(tag, className, ...content) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...content.filter((part) => part !== null && part !== undefined));
    return element;
  }

  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const argmax = (shares) => shares.indexOf(Math.max(...shares));

  // --- media of a sample

  function boxLayer(boxes, size, className) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("class", className);
    for (const [x1, y1, x2, y2, label] of boxes) {
      const rect = document.createElementNS(svg.namespaceURI, "rect");
      const sides = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
      for (const [name, value] of Object.entries(sides)) rect.setAttribute(name, value);
      const title = document.createElementNS(svg.namespaceURI, "title");
      title.textContent = label;
      rect.append(title);
      svg.append(rect);
    }
    return svg;
  }

  function frame(index, view, predicted) {
    const [uri, ...size] = pictures[index];
    if (!uri) return el("span", "frame", el("span", "missing", "image missing"));
    const image = el("img");
    image.src = uri;
    image.alt = view.label;
    const layers = [boxLayer(view.boxes, size, ""), boxLayer(predicted, size, "predicted")];
    const boxed = view.boxes.length + predicted.length > 0;
    return el("span", Math.max(...size) <= 64 ? "frame tiny" : "frame", image, ...(boxed ? layers : []));
  }

  function media(views, predicted) {
    const verdict = (view) => ({ true: "right", false: "wrong" })[view.right] ?? "";
    const figures = views.filter((view) => !view.text).map((view) => el(
      "figure", `view ${verdict(view)}`,
      el("div", "frames", ...view.pictures.map((index) => frame(index, view, predicted))),
      views.length > 1 ? el("figcaption", "", view.label) : null,
    ));
    const texts = views.filter((view) => view.text).map((view) => el(
      "li", verdict(view), el("small", "", view.label), ` ${view.text}`,
    ));
    return el("div", "views", ...figures, texts.length ? el("ol", "texts", ...texts) : null);
  }

  // --- answers

  function outcome(answer) {
    if (answer.answer === null) return "unparsed";
    if (answer.correct === null) return "tie";
    return answer.correct === 1 ? "right" : answer.correct === 0 ? "wrong" : "partly";
  }

  function probabilities(name, shares, answer) {
    if (!shares || !shares.length) return null;
    const bar = el("div", "belief", ...shares.map((share, i) => {
      const part = el("i", i === answer.gold ? "gold" : "");
      part.style.flexGrow = share;
      part.title = `${answer.options[i]} ${percent(share)}`;
      return part;
    }));
    const best = argmax(shares);
    return el("div", "confidence", el("span", "", name), bar, el("span", "", `${answer.options[best]} ${percent(shares[best])}`));
  }

  function vote(answer, views, single) {
    const score = answer.correct !== null && answer.correct % 1 ? ` (F1 ${answer.correct.toFixed(2)})` : "";
    const reasoning = answer.text === undefined ? el("p", "thinking", answer.thinking) : el("pre", "thinking", answer.text);
    return el(
      "div", `vote ${outcome(answer)}`,
      single ? null : el("h4", "", answer.order === "given" ? "given order" : "swapped order"),
      media(views, answer.boxes ?? []),
      el(/^[[{]/.test(answer.answer) ? "code" : "b", "verdict", `${answer.answer ?? "no readable answer"}${score}`),
      answer.parse_error ? el("span", "chip malformed", answer.parse_error) : null,
      reasoning,
      probabilities("listener", answer.listener, answer),
      probabilities("model", answer.confidence, answer),
    );
  }

  function stageOutcomes(item, stage) {
    return Object.entries(item.answers).map(([name, answers]) => el(
      "span", name === stage ? "here" : "", el("small", "", stageNames[name]), ...answers.map((answer) => el("i", outcome(answer))),
    ));
  }

  function card(item, stage) {
    const [before, phrase, after] = item.prompt;
    const answers = item.answers[stage];
    const article = el(
      "article", "item",
      el("header", "", el("q", "", before, phrase ? el("mark", "", phrase) : null, after),
        ...Object.entries(item.facets).map(([facet, name]) => el("span", "chip", facet === "difficulty" ? `level ${name}` : name)),
        el("span", "dots trail", ...stageOutcomes(item, stage))),
      el("div", "votes", ...answers.map((answer) => vote(answer, item.views[answer.order], answers.length === 1))),
      el("footer", "", el("span", "", "gold: ", el("b", "", item.gold)), el("span", "", item.id)),
    );
    article.tabIndex = -1;
    return article;
  }

  // --- filters and pages

  function applyFilters() {
    const { stage, split, ...facets } = Object.fromEntries(new FormData(form));
    const wanted = Object.entries(facets).filter(([, name]) => name);
    const selected = items.filter((item) => item.split === split && item.answers[stage]
      && wanted.every(([facet, name]) => item.facets[facet] === name));
    for (const button of form.querySelectorAll("[data-flag]")) {
      const own = button.dataset.flag;
      button.setAttribute("aria-pressed", String(own === flag));
      button.querySelector("small").textContent = own ? selected.filter((item) => item.flags[stage].includes(own)).length : selected.length;
    }
    matches = flag ? selected.filter((item) => item.flags[stage].includes(flag)) : selected;
    showPage(0, stage);
  }

  function showPage(to, stage = new FormData(form).get("stage")) {
    const last = Math.max(0, Math.ceil(matches.length / SIZE) - 1);
    page = Math.min(Math.max(to, 0), last);
    const items = matches.slice(page * SIZE, (page + 1) * SIZE);
    list.className = items.every((item) => item.answers[stage].length === 1) ? "single" : "";
    list.replaceChildren(...items.map((item) => card(item, stage)));
    if (!items.length) list.append(el("p", "empty", "No item matches these filters."));
    form.querySelector("output").textContent = items.length
      ? `${page * SIZE + 1}–${page * SIZE + items.length} of ${matches.length}` : "none";
    form.querySelector('[data-step="-1"]').disabled = page === 0;
    form.querySelector('[data-step="1"]').disabled = page === last;
  }

  function focusItem(by) {
    const cards = [...list.querySelectorAll(".item")];
    const current = cards.indexOf(document.activeElement.closest(".item"));
    const next = cards[current < 0 ? 0 : current + by];
    if (next) {
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "start" });
    }
  }

  function onKey(event) {
    const { top: above, bottom } = list.getBoundingClientRect();
    const busy = event.target.closest("select, input, textarea") || event.ctrlKey || event.metaKey || event.altKey;
    if (busy || above > innerHeight || bottom < 0) return;
    const actions = { j: () => focusItem(1), k: () => focusItem(-1), ArrowRight: () => showPage(page + 1), ArrowLeft: () => showPage(page - 1) };
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  }

  if (form) {
    form.hidden = document.querySelector(".keys").hidden = false;
    form.addEventListener("change", applyFilters);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.step) showPage(page + Number(button.dataset.step));
      else {
        flag = button.dataset.flag;
        applyFilters();
      }
    });
    document.addEventListener("keydown", onKey);
    applyFilters();
  }
}
