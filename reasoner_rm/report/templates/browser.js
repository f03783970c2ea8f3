// The browser of evaluated items: they stand in the page as JSON, and one page of those asked for is drawn.
{
  const SIZE = 10;
  const source = document.getElementById("items-data");
  const pick = document.getElementById("pick");
  const sheet = document.getElementById("page");
  const { pictures, items } = source ? JSON.parse(source.textContent) : { pictures: [], items: [] };
  const stageNames = source ? JSON.parse(source.dataset.stages) : {};
  let flag = "", page = 0, found = [];

  function el(tag, className, ...content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...content.filter((part) => part !== null && part !== undefined));
    return made;
  }

  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const top = (shares) => shares.indexOf(Math.max(...shares));

  // --- what a sample shows

  function drawn(boxes, size, className) {
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

  function frame(index, view, found) {
    const [uri, ...size] = pictures[index];
    if (!uri) return el("span", "frame", el("span", "missing", "image missing"));
    const image = el("img");
    image.src = uri;
    image.alt = view.label;
    const layers = [drawn(view.boxes, size, ""), drawn(found, size, "found")];
    const boxed = view.boxes.length + found.length > 0;
    return el("span", Math.max(...size) <= 64 ? "frame tiny" : "frame", image, ...(boxed ? layers : []));
  }

  function shown(views, found) {
    const verdict = (view) => ({ true: "right", false: "wrong" })[view.right] ?? "";
    const seen = views.filter((view) => !view.text).map((view) => el(
      "figure", `view ${verdict(view)}`,
      el("div", "frames", ...view.pictures.map((index) => frame(index, view, found))),
      views.length > 1 ? el("figcaption", "", view.label) : null,
    ));
    const texts = views.filter((view) => view.text).map((view) => el(
      "li", verdict(view), el("small", "", view.label), ` ${view.text}`,
    ));
    return el("div", "views", ...seen, texts.length ? el("ol", "texts", ...texts) : null);
  }

  // --- what was said of it

  function mark(answer) {
    if (answer.answer === null) return "unparsed";
    if (answer.correct === null) return "tie";
    return answer.correct === 1 ? "right" : answer.correct === 0 ? "wrong" : "partly";
  }

  function belief(name, shares, answer) {
    if (!shares || !shares.length) return null;
    const bar = el("div", "belief", ...shares.map((share, i) => {
      const part = el("i", i === answer.gold ? "gold" : "");
      part.style.flexGrow = share;
      part.title = `${answer.options[i]} ${percent(share)}`;
      return part;
    }));
    const first = top(shares);
    return el("div", "sure", el("span", "", name), bar, el("span", "", `${answer.options[first]} ${percent(shares[first])}`));
  }

  function said(answer, views, single) {
    const score = answer.correct !== null && answer.correct % 1 ? ` (F1 ${answer.correct.toFixed(2)})` : "";
    const thought = answer.text === undefined ? el("p", "thinking", answer.thinking) : el("pre", "thinking", answer.text);
    return el(
      "div", `ballot ${mark(answer)}`,
      single ? null : el("h4", "", answer.order === "given" ? "as given" : "swapped"),
      shown(views, answer.boxes ?? []),
      el(/^[[{]/.test(answer.answer) ? "code" : "b", "verdict", `${answer.answer ?? "no readable answer"}${score}`),
      answer.why ? el("span", "chip malformed", answer.why) : null,
      thought,
      belief("listener", answer.listener, answer),
      belief("itself", answer.confidence, answer),
    );
  }

  function trail(item, stage) {
    return Object.entries(item.said).map(([name, answers]) => el(
      "span", name === stage ? "here" : "", el("small", "", stageNames[name]), ...answers.map((answer) => el("i", mark(answer))),
    ));
  }

  function card(item, stage) {
    const [before, marked, after] = item.prompt;
    const answers = item.said[stage];
    const made = el(
      "article", "item",
      el("header", "", el("q", "", before, marked ? el("mark", "", marked) : null, after),
        ...Object.entries(item.by).map(([facet, kind]) => el("span", "chip", facet === "difficulty" ? `level ${kind}` : kind)),
        el("span", "dots trail", ...trail(item, stage))),
      el("div", "ballots", ...answers.map((answer) => said(answer, item.views[answer.order], answers.length === 1))),
      el("footer", "", el("span", "", "gold: ", el("b", "", item.gold)), el("span", "", item.id)),
    );
    made.tabIndex = -1;
    return made;
  }

  // --- which of them

  function ask() {
    const { stage, split, ...facets } = Object.fromEntries(new FormData(pick));
    const wanted = Object.entries(facets).filter(([, kind]) => kind);
    const here = items.filter((item) => item.split === split && item.said[stage]
      && wanted.every(([facet, kind]) => item.by[facet] === kind));
    for (const button of pick.querySelectorAll("[data-flag]")) {
      const own = button.dataset.flag;
      button.setAttribute("aria-pressed", String(own === flag));
      button.querySelector("small").textContent = own ? here.filter((item) => item.flags[stage].includes(own)).length : here.length;
    }
    found = flag ? here.filter((item) => item.flags[stage].includes(flag)) : here;
    turn(0, stage);
  }

  function turn(to, stage = new FormData(pick).get("stage")) {
    const last = Math.max(0, Math.ceil(found.length / SIZE) - 1);
    page = Math.min(Math.max(to, 0), last);
    const here = found.slice(page * SIZE, (page + 1) * SIZE);
    sheet.className = here.every((item) => item.said[stage].length === 1) ? "single" : "";
    sheet.replaceChildren(...here.map((item) => card(item, stage)));
    if (!here.length) sheet.append(el("p", "empty", "No item is like this."));
    pick.querySelector("output").textContent = here.length
      ? `${page * SIZE + 1}–${page * SIZE + here.length} of ${found.length}` : "none";
    pick.querySelector('[data-turn="-1"]').disabled = page === 0;
    pick.querySelector('[data-turn="1"]').disabled = page === last;
  }

  function step(by) {
    const cards = [...sheet.querySelectorAll(".item")];
    const at = cards.indexOf(document.activeElement.closest(".item"));
    const next = cards[at < 0 ? 0 : at + by];
    if (next) {
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "start" });
    }
  }

  function press(event) {
    const { top: above, bottom } = sheet.getBoundingClientRect();
    const busy = event.target.closest("select, input, textarea") || event.ctrlKey || event.metaKey || event.altKey;
    if (busy || above > innerHeight || bottom < 0) return;
    const doing = { j: () => step(1), k: () => step(-1), ArrowRight: () => turn(page + 1), ArrowLeft: () => turn(page - 1) };
    if (doing[event.key]) {
      event.preventDefault();
      doing[event.key]();
    }
  }

  if (pick) {
    pick.hidden = document.querySelector(".keys").hidden = false;
    pick.addEventListener("change", ask);
    pick.addEventListener("submit", (event) => event.preventDefault());
    pick.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.turn) turn(page + Number(button.dataset.turn));
      else {
        flag = button.dataset.flag;
        ask();
      }
    });
    document.addEventListener("keydown", press);
    ask();
  }
}
